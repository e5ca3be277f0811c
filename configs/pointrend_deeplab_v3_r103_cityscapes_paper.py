r"""DeepLabV3 R103 of output stride 16 with PointRend on Cityscapes, as the paper trains it.

    python train.py --config configs/pointrend_deeplab_v3_r103_cityscapes_paper.py \
        --workdir runs/deeplab --config.data.dir=DIR

Published with this recipe: mIoU 78.4 (table 6, median of five runs). Detectron2 has no such model.
The multi-grid is Detectron2's; the paper does not give one. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import deeplab_v3_r103_cityscapes, presets


def get_config() -> ConfigDict:
    config = deeplab_v3_r103_cityscapes.get_config()
    config.name = "pointrend_deeplab_v3_r103_cityscapes_paper"
    presets.use_paper(config)
    config.data.crop_hw = (768, 768)

    semantic = config.model.semantic
    semantic.pointrend = True
    semantic.aspp_pool = "image"
    semantic.loss = "cross_entropy"
    semantic.point_features = ("res2",)
    semantic.train_num_points = 2304  # a point for 256 pixels of the crop
    semantic.subdivision_steps = 4  # 64x128 to 1024x2048

    config.train.rate_multipliers = (
        ("coarse_head/aspp", 10.0),
        ("coarse_head/predictor", 10.0),
    )
    return config
