"""Parts of your own without a fork: the tables that a config names its parts by, and what each is.

A file adds its part to a table, under a name that the config then gives:

    MASK_SAMPLERS.add("stratified", stratified_points)    # config.model.mask.sampler = "stratified"

The file must have run before the model is built: a config imports it, `--import FILE` runs it for
any command, and in Python an import does. A checkpoint keeps names and arrays, never code, so
`predict` needs the file too; a run knows a part by its name alone, not by what its file says.
docs/recipes.md has a whole file for each kind.

  config.model.backbone              BACKBONES              BackboneSpec, which makes a Backbone
  config.model.mask_head             MASK_HEADS             a function of the config: a MaskHead
  config.model.semantic.coarse_head  SEMANTIC_HEADS         SemanticHeadSpec, makes a SemanticHead
  config.model.mask.sampler          MASK_SAMPLERS          Sampler, a function
  config.model.semantic.sampler      SEMANTIC_SAMPLERS      the same
  config.model.mask.point_loss       MASK_POINT_LOSSES      PointLoss, a function
  config.model.semantic.point_loss   SEMANTIC_POINT_LOSSES  the same, of other labels
  config.data.source                 OBJECT_SETS            Source, which reads FoundObjects
                                     LABEL_SETS             Source, which reads a SemanticSet

The protocols (Backbone, MaskHead, SemanticHead, Sampler, PointLoss) give shapes and types. What a
part gives is checked before data is read, and a ValueError says what it should have been. Modules
are Linen's; layers and ops of the package are there to be used. Make no array where a file is
imported: processes have not found each other by then.
"""

from pointrend_jax.data.sources.annotation_cache import objects_from_coco
from pointrend_jax.data.sources.known import LABEL_SETS, OBJECT_SETS, Place, Release, Source
from pointrend_jax.data.sources.label_set import SemanticImage, SemanticSet
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.layers.parts import Backbone, CoarseMaskPredictor, MaskHead, SemanticHead
from pointrend_jax.layers.regions import MaskLogits, Regions
from pointrend_jax.layers.training_points import PointLoss, Sampler
from pointrend_jax.models.backbones import BACKBONES, BackboneOptions, BackboneSpec
from pointrend_jax.models.mask_heads import MASK_HEADS
from pointrend_jax.models.point_training import (
    MASK_POINT_LOSSES,
    MASK_SAMPLERS,
    SEMANTIC_POINT_LOSSES,
    SEMANTIC_SAMPLERS,
)
from pointrend_jax.models.semantic_heads import SEMANTIC_HEADS, SemanticHeadSpec
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.pointrend import CandidatePoints, UncertaintyFn

__all__ = [
    "BACKBONES",
    "LABEL_SETS",
    "MASK_HEADS",
    "MASK_POINT_LOSSES",
    "MASK_SAMPLERS",
    "OBJECT_SETS",
    "SEMANTIC_HEADS",
    "SEMANTIC_POINT_LOSSES",
    "SEMANTIC_SAMPLERS",
    "Backbone",
    "BackboneOptions",
    "BackboneSpec",
    "CandidatePoints",
    "CoarseMaskPredictor",
    "FoundObjects",
    "LossTerm",
    "MaskHead",
    "MaskLogits",
    "Place",
    "PointLoss",
    "Regions",
    "Release",
    "Sampler",
    "SemanticHead",
    "SemanticHeadSpec",
    "SemanticImage",
    "SemanticSet",
    "Source",
    "UncertaintyFn",
    "objects_from_coco",
]
