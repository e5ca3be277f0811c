"""Where the paper and Detectron2 differ for semantic segmentation: the paper's side.

The base configuration is Detectron2's. `use_paper` takes what the paper says instead; an experiment
whose name ends in `_paper` has called it.
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
