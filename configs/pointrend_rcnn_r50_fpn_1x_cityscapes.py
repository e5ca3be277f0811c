r"""PointRend on Mask R-CNN R50-FPN, Cityscapes instances, 24k steps.

    python train.py --config configs/pointrend_rcnn_r50_fpn_1x_cityscapes.py \
        --workdir runs/cityscapes --config.data.dir=DIR

DIR holds leftImg8bit and gtFine, as folders or as the official zip files. Published with this
recipe: mask AP 35.8 (paper, table 1), 35.9 (Detectron2), from ImageNet weights; runs vary, the
paper reports the median of five. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_rcnn_r50_fpn_1x_coco


def get_config() -> ConfigDict:
    config = pointrend_rcnn_r50_fpn_1x_coco.get_config()
    config.name = "pointrend_rcnn_r50_fpn_1x_cityscapes"
    config.num_classes = 8

    data = config.data
    data.source, data.categories = "cityscapes", "cityscapes"
    data.dir = "data/cityscapes"
    data.train_min_sizes = (800, 832, 864, 896, 928, 960, 992, 1024)
    data.eval_min_size, data.max_size = 1024, 2048
    data.buckets = ((1024, 2048),)

    train = config.train
    train.steps, train.milestones = 24_000, (18_000,)
    train.batch_size, train.learning_rate = 8, 0.01
    config.eval.boundary_dilation = 0.005
    return config
