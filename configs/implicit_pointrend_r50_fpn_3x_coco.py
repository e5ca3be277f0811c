r"""Implicit PointRend on Mask R-CNN R50-FPN, COCO, 3x schedule.

    python train.py --config configs/implicit_pointrend_r50_fpn_3x_coco.py \
        --workdir runs/implicit_3x --config.data.dir=DIR

DIR holds train2017/, val2017/ and annotations/. Source: Detectron2
implicit_pointrend_R_50_FPN_3x_coco.yaml. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import implicit_pointrend_r50_fpn_1x_coco


def get_config() -> ConfigDict:
    config = implicit_pointrend_r50_fpn_1x_coco.get_config()
    config.name = "implicit_pointrend_r50_fpn_3x_coco"
    config.train.steps, config.train.milestones = 270_000, (210_000, 250_000)
    return config
