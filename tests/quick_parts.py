"""The parts "patches" and "levels": a backbone and a semantic head that are quick to trace and run.

For runs that are about all but the network; a process that tests start has them by `--import`.
"""

from pointrend_jax.extend import (
    BACKBONES,
    SEMANTIC_HEADS,
    BackboneOptions,
    BackboneSpec,
    SemanticHeadSpec,
)
from pointrend_jax.structures import Config
from tests.own_parts import Levels, Patches, spec


def _patches(options: BackboneOptions) -> Patches:
    return Patches(frozen=("res2_conv",) if options.freeze_at else ())


def _levels(config: Config) -> Levels:
    """Reads the backbone, so that the model has no FPN."""
    return Levels(config.num_classes, level="res3")


_PATCHES: BackboneSpec = spec(Patches())._replace(make=_patches)
BACKBONES.add("patches", _PATCHES)
SEMANTIC_HEADS.add("levels", SemanticHeadSpec(_levels))
