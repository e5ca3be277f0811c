r"""PointRend on Mask R-CNN R50-FPN, COCO, 3x, from ten labelled points an object.

    pointrend_jax points --annotations DIR/annotations/instances_train2017.json \
        --output DIR/annotations/points_train2017.json
    python train.py --config configs/pointsup_pointrend_rcnn_r50_fpn_3x_coco.py \
        --workdir runs/pointsup --config.data.dir=DIR

DIR holds train2017/, val2017/ and annotations/; scores need the masks of val2017. Source: Cheng,
Parkhi, Kirillov, "Pointly-Supervised Instance Segmentation" (2022), which draws five of the ten
points in a step. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_3x_coco


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_3x_coco.get_config()
    config.name = "pointsup_pointrend_rcnn_r50_fpn_3x_coco"
    config.data.supervision, config.data.points_per_step = "points", 5
    config.data.train_annotations = "annotations/points_train2017.json"
    return config
