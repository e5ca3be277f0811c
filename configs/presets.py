"""What several experiments change together.

The base configuration is Detectron2's. Where the paper differs for semantic segmentation,
`use_paper` takes what the paper says instead; an experiment whose name ends in `_paper` has called
it. `use_lite` makes the model small.
"""

from ml_collections import ConfigDict


def use_paper(config: ConfigDict) -> None:
    """Uncertainty of probabilities, the coarse prediction at every layer, N = 8096, fine scales."""
    semantic = config.model.semantic
    semantic.uncertainty = "probabilities"
    semantic.coarse_each_layer = True
    semantic.subdivision_num_points = 8096
    # Shorter edges from 0.5 to 2 times 1024 in steps of 32; Detectron2's are 256 apart.
    config.data.train_min_sizes = tuple(range(512, 2049, 32))
    # From a rate of 0.001; Detectron2 starts at a thousandth of its rate.
    config.train.warmup_factor = 0.1


def use_lite(config: ConfigDict) -> None:
    """EfficientNet-Lite0 with narrow heads, for `config.task`: small sets on small machines."""
    config.init.weights = "efficientnet_lite0"
    model = config.model
    model.backbone = "efficientnet_lite0"
    if config.task == "semantic":
        model.fpn_channels = 64
        semantic = model.semantic
        semantic.conv_dim = 64
        semantic.point_fc_dim = 128
        # As in the paper; measured with and without: docs/results.md.
        semantic.coarse_each_layer = True
        semantic.train_num_points = 512
        semantic.subdivision_num_points = 2048
        return
    model.fpn_channels = 96
    model.rpn.pre_nms_topk_train = model.rpn.pre_nms_topk_eval = 300
    model.rpn.post_nms_topk_train = model.rpn.post_nms_topk_eval = 100
    model.box.samples_per_image = 64
    model.box.fc_dim = 256
    model.mask.conv_dim = 96
    model.mask.coarse_fc_dim = 256
    model.mask.point_fc_dim = 128
