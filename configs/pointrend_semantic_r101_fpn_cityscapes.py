r"""SemanticFPN R101 with PointRend on Cityscapes, 65k steps, as Detectron2 trains it.

    python train.py --config configs/pointrend_semantic_r101_fpn_cityscapes.py \
        --workdir runs/cityscapes --config.data.dir=DIR

DIR holds leftImg8bit and gtFine, as folders or as the official zip files. Published with this
recipe: mIoU 78.9 (Detectron2), from ImageNet weights. Not measured with this code. The same without
PointRend: --config.model.semantic.pointrend=False; the paper's figure for it is of its own recipe,
semantic_r101_fpn_cityscapes_paper.py.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.name = "pointrend_semantic_r101_fpn_cityscapes"
    config.task = "semantic"
    config.num_classes = 19

    data = config.data
    data.source, data.categories = "cityscapes", "cityscapes_semantic"
    data.dir = "data/cityscapes"
    data.train_min_sizes = (512, 768, 1024, 1280, 1536, 1792, 2048)
    data.eval_min_size, data.max_size = 1024, 2048
    data.buckets = ((1024, 2048),)
    data.crop_hw = (512, 1024)
    data.crop_max_category_area = 0.75
    data.color_augmentation = True

    config.init.weights = "detectron2://ImageNetPretrained/MSRA/R-101.pkl"
    config.model.backbone = "resnet101"
    config.model.freeze_at = 0

    train = config.train
    train.steps, train.milestones = 65_000, (40_000, 55_000)
    train.batch_size, train.learning_rate = 32, 0.01
    config.eval.batch_size = 1
    config.eval.boundary_dilation = 0.005
    return config
