r"""Implicit PointRend on Mask R-CNN R50-FPN, COCO, 1x schedule.

    python train.py --config configs/implicit_pointrend_r50_fpn_1x_coco.py \
        --workdir runs/implicit --config.data.dir=DIR

DIR holds train2017/, val2017/ and annotations/. Source: Detectron2
implicit_pointrend_R_50_FPN_1x_coco.yaml. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_1x_coco


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_1x_coco.get_config()
    config.name = "implicit_pointrend_r50_fpn_1x_coco"
    config.model.mask_head = "implicit"
    mask = config.model.mask
    mask.train_on_pred_boxes = False
    mask.subdivision_steps = 3  # 28 -> 224
    return config
