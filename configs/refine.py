"""A refiner of masks: EfficientNet-Lite0, frozen, and PointRend's points on crops around objects.

    python train.py --config configs/refine.py --data FOLDER --workdir runs/refiner

FOLDER holds any set with masks, whose classes do not matter; config.data.dir and the fields beside
it name files instead. The true masks are made worse while it trains. Measured: docs/refine.md.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "refine"
    config.task = "refine"
    config.num_classes = 1
    config.init.weights = "efficientnet_lite0"

    model = config.model
    model.backbone = "efficientnet_lite0"
    # The gradient of its depthwise convolutions takes longer to compile than all else.
    model.freeze_at = 5
    config.data.categories = ""
    config.data.buckets = ((192, 192),)

    train = config.train
    train.batch_size = 8
    train.steps = 1200
    # With SGD at a rate that learns as fast, most units fell silent (docs/refine.md).
    train.optimizer = "adam"
    train.learning_rate = 0.002
    train.warmup_steps = 30
    train.schedule = "poly"
    train.clip_gradient_norm = 1.0
    train.eval_every = 0
    train.checkpoint_every = 100
    train.keep_checkpoints = 1
    config.eval.batch_size = 8
    return config
