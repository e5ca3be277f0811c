r"""Mask R-CNN R50-FPN with its own 4-conv 28x28 mask head, COCO, 3x: the paper's baseline.

    python train.py --config configs/mask_rcnn_r50_fpn_3x_coco.py \
        --workdir runs/mask_rcnn_3x --config.data.dir=DIR

DIR holds train2017/, val2017/ and annotations/. Published with this recipe: mask AP 37.2
(Detectron2; paper, table 5: 37.2). Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import mask_rcnn_r50_fpn_1x_coco


def get_config() -> ConfigDict:
    config = mask_rcnn_r50_fpn_1x_coco.get_config()
    config.name = "mask_rcnn_r50_fpn_3x_coco"
    config.train.steps, config.train.milestones = 270_000, (210_000, 250_000)
    return config
