r"""PointRend R50-FPN fine-tuned on Penn-Fudan pedestrians from a checkpoint of the 80 COCO classes.

    python -m pointrend_jax convert --output checkpoints/coco_r50 \
        --weights pointrend_rcnn_r50_fpn_3x_coco --config configs/pointrend_rcnn_r50_fpn_3x_coco.py
    python train.py --config configs/pennfudan_from_coco.py --workdir runs/pennfudan_from_coco \
        --config.data.dir=DIR

The predictors, whose shape depends on the number of classes, start anew; all else is taken. DIR as
in pennfudan.py. Not measured.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import base, pennfudan


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "pennfudan_from_coco"
    config.num_classes = 1
    config.data = pennfudan.get_config().data
    config.init.weights = "checkpoints/coco_r50"
    config.init.reset = (
        "box_head/classifier",
        "box_head/deltas",
        "mask_head/coarse_head/predictor",
        # Every layer of the point head sees the coarse prediction of all classes.
        "mask_head/point_head",
    )
    train = config.train
    train.steps, train.milestones = 600, (400, 540)
    train.batch_size, train.learning_rate, train.warmup_steps = 4, 0.005, 100
    train.eval_every = 200
    train.checkpoint_every = 100
    return config
