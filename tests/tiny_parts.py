"""Whole networks on the quickest of backbones, and heads without any network before them.

For tests that are about neither: a backbone is half of what a network costs to trace and compile.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.devices.backend import forms
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.regions import Regions
from pointrend_jax.models.build import build_model
from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.models.mask_heads import build_mask_head
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.pointrend import CandidatePoints
from pointrend_jax.structures import Array, Config, ObjectBatch
from pointrend_jax.tasks.instance import instance_task
from pointrend_jax.tasks.semantic import semantic_task
from pointrend_jax.tasks.task import Task, Variables
from tests.own_parts import Patches
from tests.tiny import drawn_variables, object_batch, on_device


def task_on_patches(config: Config, frozen: tuple[str, ...] = ()) -> Task:
    """The task of `config`, but for its backbone: four convolutions, such as "res2_conv"."""
    if config.task == "semantic":
        model = build_semantic_model(config)
        last = model.backbone_strides[3] // model.backbone_strides[2]
        backbone = Patches(strides=(4, 2, 2, last), frozen=frozen)
        return semantic_task(model.clone(backbone=backbone))
    model = build_model(config).clone(backbone=Patches(frozen=frozen))
    return instance_task(model, pastes_masks=forms().pastes_masks)


class TinyHead(NamedTuple):
    """A mask head, its variables, and what it is given of a canvas of 64 x 64 pixels."""

    module: Any
    variables: Variables
    pyramid: dict[str, Array]
    regions: Regions
    batch: ObjectBatch
    candidates: CandidatePoints

    def losses(
        self, params: Any, pyramid: dict[str, Array], regions: Regions
    ) -> tuple[Array, dict[str, LossTerm]]:
        """The sum of all losses, and each."""
        terms = self.module.apply(
            self.variables | {"params": params},
            pyramid, regions, self.batch, self.candidates, method="losses",
        )  # fmt: skip
        return sum((term.total for term in terms.values()), jnp.zeros(())), terms


def tiny_head(config: Config, dtype: Any = jnp.float32) -> TinyHead:
    """That of `config`. The maps are noise in `dtype`, the regions are near the objects of two
    images."""
    # The name that it has in a network.
    module: Any = build_mask_head(config).clone(name="mask_head")  # type: ignore[attr-defined]
    batch: ObjectBatch = on_device(object_batch())
    rng, channels = np.random.default_rng(0), config.model.fpn_channels
    pyramid = on_device(
        {
            level: rng.normal(size=(2, 64 // stride, 64 // stride, channels)).astype(dtype)
            for level, stride in STRIDES.items()
        }
    )
    regions = _near_objects(object_batch())
    candidates = jax.jit(module.draw_candidates, static_argnums=1)(
        jax.random.key(0), len(regions.boxes)
    )
    given = (pyramid, regions, batch, candidates)
    shapes = jax.eval_shape(lambda k: module.init(k, *given, method="losses"), jax.random.key(0))
    # Larger predictors than at initialisation, so that logits spread.
    variables = drawn_variables(shapes, {"predictor/kernel": 100})
    return TinyHead(module, variables, *given)


def _near_objects(batch: ObjectBatch) -> Regions:
    """Boxes that end inside of the image, one at its edges; the padded slots hold no region."""
    batch_size, slots = batch.valid.shape
    boxes = batch.boxes + np.array([-3.5, -2, 1.5, 4], np.float32)
    boxes[0, 0] = 0, 0, 64, 64
    arrays: dict[str, Any] = {
        "boxes": np.where(batch.valid[..., None], boxes.clip(0, 64), 0).reshape(-1, 4),
        "image_index": np.repeat(np.arange(batch_size, dtype=np.int32), slots),
        "classes": batch.classes.reshape(-1),
        "gt_index": np.tile(np.arange(slots, dtype=np.int32), batch_size),
        "valid": batch.valid.reshape(-1),
    }
    return Regions(**on_device(arrays))
