r"""PointRend on Mask R-CNN R50-FPN, COCO, 1x schedule: the recipe of the paper and of Detectron2.

    python train.py --config configs/pointrend_rcnn_r50_fpn_1x_coco.py \
        --workdir runs/coco --config.data.dir=DIR

DIR holds train2017/, val2017/ and annotations/. Published with this recipe: mask AP 36.3 (paper,
table 1), 36.2 (Detectron2), both from ImageNet weights. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "pointrend_rcnn_r50_fpn_1x_coco"
    config.init.weights = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    config.data.categories = "coco"
    return config
