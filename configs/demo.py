"""The demonstration: a small PointRend on drawn objects, trained from Lite0 in minutes.

    make demo        (or: python -m pointrend_jax demo --config configs/demo.py --workdir runs/demo)

The images are drawn on this machine. This recipe's results are not measured yet; docs/results.md
has those of the one before it.
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
    data.train_min_sizes = (192,)
    data.eval_min_size = 192
    data.max_size = 192
    data.buckets = ((192, 192),)
    data.embedded.image_size = 192
    data.embedded.num_train = 520
    data.embedded.num_eval = 60
    data.embedded.max_objects = 3

    model = config.model
    model.backbone = "efficientnet_lite0"
    model.freeze_at = 3
    model.fpn_channels = 64
    model.rpn.samples_per_image = 128
    model.rpn.pre_nms_topk_train = model.rpn.pre_nms_topk_eval = 300
    model.rpn.post_nms_topk_train = model.rpn.post_nms_topk_eval = 100
    model.box.pooler_sampling_ratio = 2
    model.box.samples_per_image = 32
    model.box.positive_fraction = 0.5  # the mask head learns from these alone
    model.box.fc_dim = 256
    model.box.detections_per_image = 20
    model.mask.conv_dim = 64
    model.mask.coarse_fc_dim = 256
    model.mask.point_fc_dim = 128

    train = config.train
    train.batch_size = 4
    train.steps = 260
    train.learning_rate = 0.02
    train.warmup_steps = 20
    train.milestones = (200, 245)
    train.clip_gradient_norm = 10.0
    train.log_every = 20
    train.eval_every = 0
    train.checkpoint_every = 100
    train.keep_checkpoints = 1
    config.eval.batch_size = 4
    return config
