"""The demonstration: a small PointRend on drawn objects, trained from Lite0 in minutes.

    make demo        (or: python -m pointrend_jax demo --config configs/demo.py --workdir runs/demo)

The images are drawn on this machine. Measured results: docs/results.md.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "demo"
    config.num_classes = 6
    config.init.weights = "efficientnet_lite0"

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
    model.backbone = "efficientnet_lite0"
    model.freeze_at = 3
    model.fpn_channels = 96
    model.rpn.samples_per_image = 128
    model.rpn.pre_nms_topk_train = model.rpn.pre_nms_topk_eval = 300
    model.rpn.post_nms_topk_train = model.rpn.post_nms_topk_eval = 100
    model.box.samples_per_image = 64
    model.box.fc_dim = 256
    model.box.detections_per_image = 20
    model.mask.conv_dim = 96
    model.mask.coarse_fc_dim = 256
    model.mask.point_fc_dim = 128

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
