r"""SemanticFPN with PointRend on CamVid, from the ImageNet weights of EfficientNet-Lite0.

    python train.py --config configs/camvid.py --workdir runs/camvid --config.data.dir=DIR

DIR holds images, labels, train.txt and val.txt of the 480x360, 11-class version. The same without
PointRend: --config.model.semantic.pointrend=False. Measured results: docs/results.md.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import base, presets


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "camvid"
    config.task = "semantic"
    config.num_classes = 11
    presets.use_lite(config)

    data = config.data
    data.source = data.categories = "camvid"
    data.dir = "data/camvid"
    data.train_min_sizes = (288, 324, 360, 396, 432, 468)
    data.crop_hw = (256, 320)
    data.crop_max_category_area = 0.75
    data.color_augmentation = True
    data.eval_min_size, data.max_size = 360, 480
    data.buckets = ((384, 480),)

    train = config.train
    train.batch_size = 8
    train.steps = 240
    train.learning_rate = 0.02
    train.schedule = "poly"
    train.warmup_steps = 24
    train.clip_gradient_norm = 10.0
    train.eval_every = 0
    train.checkpoint_every = 60
    config.eval.batch_size = 2
    config.eval.boundary_dilation = 0.005
    return config
