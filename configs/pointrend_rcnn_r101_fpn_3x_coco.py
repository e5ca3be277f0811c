r"""PointRend on Mask R-CNN R101-FPN, COCO, 3x schedule.

    python train.py --config configs/pointrend_rcnn_r101_fpn_3x_coco.py \
        --workdir runs/coco_r101 --config.data.dir=DIR

DIR holds train2017/, val2017/ and annotations/. Published with this recipe: mask AP 39.8 (paper,
table 5), 40.1 (Detectron2). Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_3x_coco


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_3x_coco.get_config()
    config.name = "pointrend_rcnn_r101_fpn_3x_coco"
    config.model.backbone = "resnet101"
    config.init.weights = "detectron2://ImageNetPretrained/MSRA/R-101.pkl"
    return config
