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
    data.train_min_sizes = (192,)
    data.eval_min_size = 192
    data.max_size = 192
    data.buckets = ((192, 192),)
    data.embedded.image_size = 192
    data.embedded.num_train = 520
    data.embedded.num_eval = 60
    data.embedded.max_objects = 3

    model = config.model
    # The gradient of its depthwise convolutions takes longer to compile than all else.
    model.freeze_at = 5
    model.fpn_channels = 64
    # Objects have sides of 67 to 144 px; of the usual sizes only two would be near them.
    model.rpn.anchor_sizes = (40, 64, 96, 128, 176)
    model.rpn.samples_per_image = 128
    model.box.pooler_sampling_ratio = 2
    model.box.detections_per_image = 20
    model.mask.conv_dim = 64

    train = config.train
    train.batch_size = 4
    train.steps = 420
    train.learning_rate = 0.015
    train.warmup_steps = 50
    train.milestones = (260, 380)
    train.clip_gradient_norm = 10.0
    train.log_every = 20
    train.eval_every = 0
    train.checkpoint_every = 100
    train.keep_checkpoints = 1
    config.eval.batch_size = 4
    return config
