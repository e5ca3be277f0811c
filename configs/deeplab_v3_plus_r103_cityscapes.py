r"""DeepLabV3+ R103 of output stride 16 on Cityscapes, 90k steps, as Detectron2 trains it.

    python train.py --config configs/deeplab_v3_plus_r103_cityscapes.py \
        --workdir runs/deeplab --config.data.dir=DIR

DIR holds leftImg8bit and gtFine, as folders or as the official zip files. Published with this
recipe: mIoU 80.0 (Detectron2), from ImageNet weights. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import deeplab_v3_r103_cityscapes


def get_config() -> ConfigDict:
    config = deeplab_v3_r103_cityscapes.get_config()
    config.name = "deeplab_v3_plus_r103_cityscapes"
    config.model.semantic.coarse_head = "deeplabv3plus"
    return config
