r"""DeepLabV3 R103 of output stride 16 without PointRend on Cityscapes: the paper's baseline.

    python train.py --config configs/deeplab_v3_r103_cityscapes_paper.py \
        --workdir runs/deeplab --config.data.dir=DIR

Published with this recipe: mIoU 77.2 at 64x128 output, and 77.8 at 128x256 when res4 is dilated at
inference too (table 6): eval.py with this config and --config.model.output_stride=8, which doubles
the rates of ASPP as well. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_deeplab_v3_r103_cityscapes_paper


def get_config() -> ConfigDict:
    config = pointrend_deeplab_v3_r103_cityscapes_paper.get_config()
    config.name = "deeplab_v3_r103_cityscapes_paper"
    config.model.semantic.pointrend = False
    return config
