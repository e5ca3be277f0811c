"""PointRend on Penn-Fudan pedestrians, from the ImageNet weights of EfficientNet-Lite0.

    python train.py --config configs/pennfudan.py --workdir runs/pennfudan --config.data.dir=DIR

DIR holds images/{train,val} and annotations/instances_{train,val}.json. The dense baseline on equal
terms: --config.model.mask_head=conv. Measured results: docs/results.md.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import base, presets


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "pennfudan"
    config.num_classes = 1
    presets.use_lite(config)

    data = config.data
    data.dir = "data/pennfudan"
    data.train_images = "images/train"
    data.train_annotations = "annotations/instances_train.json"
    data.eval_images = "images/val"
    data.eval_annotations = "annotations/instances_val.json"
    data.train_min_sizes = (192, 224, 256)
    data.eval_min_size = 256
    data.max_size = 352
    data.buckets = ((256, 352), (352, 256))  # every size above fits one: two programs to compile

    config.model.box.detections_per_image = 40

    train = config.train
    train.batch_size = 4
    train.steps = 320
    train.learning_rate = 0.01
    train.warmup_steps = 50
    train.milestones = (240, 295)
    train.clip_gradient_norm = 10.0
    train.eval_every = 0
    train.checkpoint_every = 100
    config.eval.batch_size = 2
    return config
