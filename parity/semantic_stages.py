"""Label maps of a kit's model, stage by stage, and everything at once from pixels.

A kit holds samples of the maps, so that a stage goes on from ours; its points are whole.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity.compare import Row, fraction_row
from parity.stages import Pyramid, Stages, sampled_rows
from pointrend_jax.models.semantic_segmentor import SemanticSegmentor
from pointrend_jax.ops.resize import best_labels, resize_within, upsample_by
from pointrend_jax.pointrend import RenderStep, multiclass_uncertainty
from pointrend_jax.structures import ImageBatch

LOGIT = 1e-3  # of every map of logits; two runs of Detectron2 differ by 1e-4
LABELS = 5e-4  # part of the pixels whose best class may be another
# Between the last chosen point and the first that was not, rounding decides.
UNDECIDED = 1e-3


def coarse_rows(stages: Stages) -> Iterator[Row]:
    """Logits at the stride of the coarse head."""
    stages.golden.require("sem/coarse/sample")
    logits = stages.run(lambda m, p, hw: m.coarse(p, hw), stages.pyramid, stages.batch.padded_hw)
    yield from sampled_rows(
        stages.file, "coarse logits", logits, stages.golden, "sem/coarse", LOGIT
    )


def step_rows(stages: Stages) -> Iterator[Row]:
    """Every subdivision: which points it chose, and what was predicted at some of them."""
    stages.golden.require("sem/step1/indices_sorted", "sem/step2/indices_sorted")

    def explain(m: SemanticSegmentor, maps: Pyramid, batch: ImageBatch) -> list[RenderStep]:
        assert m.point_head is not None
        coarse = m.coarse(maps, batch.padded_hw)
        return m.point_head.explain(maps, coarse, batch.images, batch.padded_hw)

    steps = stages.run(explain, stages.pyramid, stages.batch)
    for number, step in enumerate(steps, 1):
        yield from _step(stages, number, jax.tree.map(lambda x: np.asarray(x)[0], step))


def _step(stages: Stages, number: int, step: RenderStep) -> Iterator[Row]:
    names = ("indices_sorted", "some_indices", "some_logits", "kth_uncertainty", "next_uncertainty")
    g = {name: stages.golden[f"sem/step{number}/{name}"] for name in names}
    uncertainty, chosen = step.uncertainty.reshape(-1), step.point_indices
    yield stages.row(f"step {number}: points", len(chosen), len(g["indices_sorted"]), 0)
    apart = np.setxor1d(g["indices_sorted"], chosen)
    # Not `>`: a NaN must count.
    undecided = np.sum(~(np.abs(uncertainty[apart] - g["kth_uncertainty"][0]) <= UNDECIDED))
    yield stages.row(f"step {number}: points that only one chose", undecided, 0, 0)
    both = np.isin(g["some_indices"], chosen)
    logits = step.logits.reshape(-1, step.logits.shape[-1])[g["some_indices"][both]]
    yield stages.row(f"step {number}: logits at points", logits.T, g["some_logits"][:, both], LOGIT)
    ordered = -np.sort(-uncertainty)
    for name, position in (("kth", len(chosen) - 1), ("next", len(chosen))):
        golden = g[f"{name}_uncertainty"][0]
        label = f"step {number}: {name} uncertainty"
        yield stages.row(label, ordered[position], golden, LOGIT)


def rendered_rows(stages: Stages) -> Iterator[Row]:
    """Logits at the resolution of the input, and the best classes where a kit has them."""
    stages.golden.require("sem/logits/sample")
    logits = _rendered(stages)
    yield from sampled_rows(stages.file, "logits", logits, stages.golden, "sem/logits", LOGIT)
    if "sem/argmax" in stages.golden:
        labels = np.argmax(np.asarray(logits)[0], axis=-1)
        yield fraction_row(stages.file, "labels", labels, stages.golden["sem/argmax"], 0, LABELS)


def _rendered(stages: Stages) -> Any:
    """What `SemanticSegmentor.predict` makes of its maps."""

    def render(m: SemanticSegmentor, maps: Pyramid, batch: ImageBatch) -> Any:
        coarse = m.coarse(maps, batch.padded_hw)
        if m.point_head is None:
            logits = coarse
        else:
            logits = m.point_head.predict(maps, coarse, batch.images, batch.padded_hw)
        factor = batch.images.shape[1] // logits.shape[1]
        return upsample_by(logits, factor, batch.padded_hw // factor)

    return stages.run(render, stages.pyramid, stages.batch)


def result_rows(stages: Stages, name: str, batch: ImageBatch) -> Iterator[Row]:
    """Everything at once, as a user calls it: the label map of the original image."""
    golden = stages.golden
    golden.require("out/hw", "out/logits", "out/argmax", "sem/logits/sample")
    logits = stages.run(lambda m, b: m.predict(b).logits, batch)
    height, width = (int(n) for n in golden["input/padded_hw"])
    inside = logits[:, :height, :width]
    yield from sampled_rows(stages.file, f"{name}: logits", inside, golden, "sem/logits", LOGIT)
    out_hw = (int(golden["out/hw"][0]), int(golden["out/hw"][1]))
    sizes = batch.image_hw, jnp.asarray([out_hw], jnp.int32), out_hw
    resized = jax.jit(resize_within, static_argnums=3)(logits, *sizes)[0]
    s0, s1 = golden["out/stride"]
    sample = np.moveaxis(np.asarray(resized), -1, 0)[:, ::s0, ::s1]
    yield stages.row(f"{name}: resized logits", sample, golden["out/logits"], LOGIT)
    narrow = np.mean(-np.asarray(multiclass_uncertainty(resized)) < 1e-3)
    stored = golden["out/argmax_margin_lt_1e-3"]
    yield stages.row(f"{name}: part with a margin below 1e-3", narrow, stored, LABELS)
    labels = jax.jit(best_labels, static_argnums=3)(logits, *sizes)[0]
    label = f"{name}: labels"
    yield fraction_row(stages.file, label, labels, golden["out/argmax"], 0, LABELS)
