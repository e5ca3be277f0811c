r"""SemanticFPN R101, P3-P5, without PointRend on Cityscapes: the paper's baseline.

    python train.py --config configs/semantic_r101_fpn_p3_cityscapes_paper.py \
        --workdir runs/cityscapes --config.data.dir=DIR

Published with this recipe: mIoU 77.4 at 128x256 output (table 7). Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_semantic_r101_fpn_p3_cityscapes_paper


def get_config() -> ConfigDict:
    config = pointrend_semantic_r101_fpn_p3_cityscapes_paper.get_config()
    config.name = "semantic_r101_fpn_p3_cityscapes_paper"
    config.model.semantic.pointrend = False
    return config
