r"""PointRend on Mask R-CNN X101-32x8d-FPN, COCO, 3x schedule.

    python train.py --config configs/pointrend_rcnn_x101_32x8d_fpn_3x_coco.py \
        --workdir runs/coco_x101 --config.data.dir=DIR

DIR holds train2017/, val2017/ and annotations/. Published with this recipe: mask AP 40.9 (paper,
table 5), 41.1 (Detectron2). Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_3x_coco


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_3x_coco.get_config()
    config.name = "pointrend_rcnn_x101_32x8d_fpn_3x_coco"
    config.model.backbone = "resnext101_32x8d"
    config.init.weights = "detectron2://ImageNetPretrained/FAIR/X-101-32x8d.pkl"
    return config
