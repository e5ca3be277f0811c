r"""Mask R-CNN R50-FPN with its own 4-conv 28x28 mask head, COCO, 1x: the paper's baseline.

    python train.py --config configs/mask_rcnn_r50_fpn_1x_coco.py \
        --workdir runs/mask_rcnn --config.data.dir=DIR

DIR holds train2017/, val2017/ and annotations/. Published with this recipe: mask AP 35.2, box AP
38.6 (Detectron2; paper, table 1: 35.2). Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_1x_coco


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_1x_coco.get_config()
    config.name = "mask_rcnn_r50_fpn_1x_coco"
    config.model.mask_head = "conv"
    config.model.mask.train_on_pred_boxes = False
    return config
