r"""PointRend on Mask R-CNN R50-FPN, LVIS v1, 180k steps.

    python train.py --config configs/pointrend_rcnn_r50_fpn_1x_lvis_v1.py \
        --workdir runs/lvis --config.data.dir=DIR

DIR holds COCO's train2017/ and val2017/, and annotations/lvis_v1_{train,val}.json. The schedule,
the repeated images and 300 detections above a score of 0.0001 are those of Detectron2's Mask R-CNN
on LVIS v1 (configs/LVISv1-InstanceSegmentation), whose result its model zoo does not state.
Detectron2 has no PointRend on LVIS. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_1x_coco


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_1x_coco.get_config()
    config.name = "pointrend_rcnn_r50_fpn_1x_lvis_v1"
    config.num_classes = 1203

    data = config.data
    data.source, data.categories = "lvis", ""
    data.train_annotations = "annotations/lvis_v1_train.json"
    data.eval_annotations = "annotations/lvis_v1_val.json"
    data.repeat_threshold = 0.001

    config.model.box.score_threshold = 0.0001
    config.model.box.detections_per_image = 300
    config.train.steps, config.train.milestones = 180_000, (120_000, 160_000)
    return config
