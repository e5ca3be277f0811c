r"""DeepLabV3 R103 of output stride 16 on Cityscapes, 90k steps, as Detectron2 trains it.

    python train.py --config configs/deeplab_v3_r103_cityscapes.py \
        --workdir runs/deeplab --config.data.dir=DIR

DIR holds leftImg8bit and gtFine, as folders or as the official zip files. Published with this
recipe: mIoU 78.5 (Detectron2), from ImageNet weights. Not measured with this code.
"""

from ml_collections import ConfigDict

from pointrend_jax.configs import pointrend_semantic_r101_fpn_cityscapes


def get_config() -> ConfigDict:
    config = pointrend_semantic_r101_fpn_cityscapes.get_config()
    config.name = "deeplab_v3_r103_cityscapes"

    config.data.crop_max_category_area = 1.0
    config.data.color_augmentation = False

    config.init.weights = "detectron2://DeepLab/R-103.pkl"
    model = config.model
    model.backbone, model.norm = "resnet103", "batch_norm"
    model.output_stride, model.multi_grid = 16, (1, 2, 4)
    semantic = model.semantic
    semantic.coarse_head, semantic.norm = "deeplabv3", "batch_norm"
    semantic.pointrend = False
    semantic.aspp_pool = "crop"
    semantic.loss, semantic.hard_pixel_fraction = "hard_pixels", 0.2

    train = config.train
    train.steps, train.schedule, train.poly_power = 90_000, "poly", 0.9
    train.batch_size, train.learning_rate = 16, 0.01
    return config
