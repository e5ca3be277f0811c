r"""PointRend on Mask R-CNN R50-FPN, COCO, 3x schedule.

    python train.py --config configs/pointrend_rcnn_r50_fpn_3x_coco.py \
        --workdir runs/coco_3x --config.data.dir=DIR

DIR holds train2017/, val2017/ and annotations/. Published with this recipe: mask AP 38.2 (paper,
table 5), 38.3 (Detectron2). Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_1x_coco


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_1x_coco.get_config()
    config.name = "pointrend_rcnn_r50_fpn_3x_coco"
    config.train.steps, config.train.milestones = 270_000, (210_000, 250_000)
    return config
