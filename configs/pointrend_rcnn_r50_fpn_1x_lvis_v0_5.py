r"""PointRend on Mask R-CNN R50-FPN, LVIS v0.5, 90k steps.

    python train.py --config configs/pointrend_rcnn_r50_fpn_1x_lvis_v0_5.py \
        --workdir runs/lvis --config.data.dir=DIR

DIR holds COCO's train2017/ and val2017/, and annotations/lvis_v0.5_{train,val}.json. The recipe is
that of Detectron2's Mask R-CNN on LVIS v0.5 (configs/LVISv0.5-InstanceSegmentation), which reaches
mask AP 24.4 and box AP 23.6 without PointRend, and varies much between runs (model zoo). Detectron2
has no PointRend on LVIS. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_1x_lvis_v1


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_1x_lvis_v1.get_config()
    config.name = "pointrend_rcnn_r50_fpn_1x_lvis_v0_5"
    config.num_classes = 1230
    config.data.train_annotations = "annotations/lvis_v0.5_train.json"
    config.data.eval_annotations = "annotations/lvis_v0.5_val.json"
    config.train.steps, config.train.milestones = 90_000, (60_000, 80_000)
    return config
