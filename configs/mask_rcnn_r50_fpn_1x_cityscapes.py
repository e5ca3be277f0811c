r"""Mask R-CNN R50-FPN with its own 4-conv 28x28 mask head, Cityscapes: the paper's baseline.

    python train.py --config configs/mask_rcnn_r50_fpn_1x_cityscapes.py \
        --workdir runs/cityscapes --config.data.dir=DIR

DIR holds leftImg8bit and gtFine, as folders or as the official zip files. Published with this
recipe: mask AP 33.0 (paper, table 1), from ImageNet weights. Detectron2's 36.5 starts from COCO
weights. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_1x_cityscapes


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_1x_cityscapes.get_config()
    config.name = "mask_rcnn_r50_fpn_1x_cityscapes"
    config.model.mask_head = "conv"
    config.model.mask.train_on_pred_boxes = False
    return config
