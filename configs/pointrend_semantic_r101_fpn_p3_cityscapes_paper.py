r"""SemanticFPN R101, P3-P5, with PointRend on Cityscapes, as the paper trains it.

    python train.py --config configs/pointrend_semantic_r101_fpn_p3_cityscapes_paper.py \
        --workdir runs/cityscapes --config.data.dir=DIR

The coarse prediction has stride 8; points still read P2. Published with this recipe: mIoU 78.5
(table 7). Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_semantic_r101_fpn_cityscapes_paper


def get_config() -> ConfigDict:
    config = pointrend_semantic_r101_fpn_cityscapes_paper.get_config()
    config.name = "pointrend_semantic_r101_fpn_p3_cityscapes_paper"
    config.model.semantic.levels = ("p3", "p4", "p5")
    config.model.semantic.subdivision_steps = 3
    return config
