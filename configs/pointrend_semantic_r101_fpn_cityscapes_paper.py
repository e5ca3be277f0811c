r"""SemanticFPN R101, P2-P5, with PointRend on Cityscapes, as the paper trains it.

    python train.py --config configs/pointrend_semantic_r101_fpn_cityscapes_paper.py \
        --workdir runs/cityscapes --config.data.dir=DIR

Published with this recipe: mIoU 78.6 (table 7, median of five runs). Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_semantic_r101_fpn_cityscapes, presets


def get_config() -> ConfigDict:
    config = pointrend_semantic_r101_fpn_cityscapes.get_config()
    config.name = "pointrend_semantic_r101_fpn_cityscapes_paper"
    presets.use_paper(config)
    return config
