"""PointRend on a few hundred COCO photos, from the ImageNet weights of EfficientNet-Lite0.

    python train.py --config configs/coco_mini.py --workdir runs/coco_mini --config.data.dir=DIR

DIR is a folder in COCO's layout with a part of its images; 80 classes cannot be learned from it. It
checks that a COCO folder trains, evaluates and predicts. Not a COCO result.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pennfudan


def get_config() -> ConfigDict:
    config = pennfudan.get_config()
    config.name = "coco_mini"
    config.num_classes = 80
    data = config.data
    data.dir = "data/coco-mini"
    data.train_images = "train2017"
    data.train_annotations = "annotations/instances_train2017.json"
    data.eval_images = "val2017"
    data.eval_annotations = "annotations/instances_val2017.json"
    return config
