"""A run of seconds on drawn images: every part of the real thing at a fraction of its size.

    python train.py --config configs/tiny.py --workdir runs/tiny --config.data.cache_dir=DIR

For programs that start, stop and time whole runs; what it learns says nothing. Measured results:
none.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import base


def shrink(config: ConfigDict) -> None:
    """Brings an instance model to layers of some 16 channels, for images of 64 pixels."""
    model = config.model
    model.fpn_channels = 16
    model.rpn.anchor_sizes = (16, 32, 64, 128, 256)
    model.rpn.samples_per_image = 32
    model.rpn.pre_nms_topk_train = model.rpn.pre_nms_topk_eval = 60
    model.rpn.post_nms_topk_train = model.rpn.post_nms_topk_eval = 20
    model.box.fc_dim, model.box.samples_per_image, model.box.detections_per_image = 32, 16, 6
    model.mask.conv_dim = model.mask.coarse_fc_dim = model.mask.point_fc_dim = 16
    model.mask.subdivision_steps, model.mask.subdivision_num_points = 3, 196
    model.mask.train_num_points = 49
    model.mask.detections_per_chunk = 4
    config.train.batch_size = 2


def get_config() -> ConfigDict:
    config = base.get_config()
    shrink(config)
    config.name = "tiny"
    config.num_classes = 6
    config.init.weights = "efficientnet_lite0"
    config.model.backbone = "efficientnet_lite0"
    # The gradient of its depthwise convolutions takes longer to compile than all else.
    config.model.freeze_at = 5
    # Everything above chance: predictions of an untrained model are wanted here.
    config.model.box.score_threshold = 0.01
    data = config.data
    data.source = "embedded"
    data.train_min_sizes, data.eval_min_size, data.max_size = (64,), 64, 96
    # One canvas, and so one program of each kind.
    data.buckets = ((96, 96),)
    data.embedded.image_size, data.embedded.num_train, data.embedded.num_eval = 64, 6, 4
    train = config.train
    train.steps, train.learning_rate, train.log_every = 4, 0.005, 2
    train.warmup_steps, train.milestones = 0, ()
    train.eval_every, train.checkpoint_every = 0, 2
    return config
