"""The demonstration: a small PointRend on drawn objects, trained from Lite0 in minutes.

    make demo        (or: python -m pointrend_jax demo --config configs/demo.py --workdir runs/demo)

The images are drawn on this machine. Measured results: docs/results.md.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import base, presets


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "demo"
    config.num_classes = 6
    presets.use_lite(config)

    data = config.data
    data.source = "embedded"
    data.train_min_sizes = (256,)
    data.eval_min_size = 256
    data.max_size = 256
    data.buckets = ((256, 256),)
    data.embedded.image_size = 256
    data.embedded.num_train = 800
    data.embedded.num_eval = 100

    model = config.model
    model.freeze_at = 3
    model.rpn.samples_per_image = 128
    model.box.detections_per_image = 20

    train = config.train
    train.batch_size = 4
    train.steps = 420
    train.learning_rate = 0.012
    train.warmup_steps = 50
    train.milestones = (315, 390)
    train.clip_gradient_norm = 10.0
    train.log_every = 20
    train.eval_every = 0
    train.checkpoint_every = 100
    train.keep_checkpoints = 1
    config.eval.batch_size = 4
    return config
