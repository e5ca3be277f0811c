"""The mask heads of a kit's model: what they pool, the coarse mask, and every rendering step."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from parity.box_stages import pooled
from parity.compare import Result, Row, fraction_row, part
from parity.kit import regions_at
from parity.stages import HEAD, Pyramid, Stages
from pointrend_jax.layers.coarse_mask_head import pool_on_grid
from pointrend_jax.layers.conv_mask_head import ConvMaskHead
from pointrend_jax.layers.implicit_mask_head import ImplicitMaskHead
from pointrend_jax.layers.regions import grid_step
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.ops.losses import select_class
from pointrend_jax.pointrend import binary_uncertainty, subdivide

MASK = 5e-3  # coarse logits
POINT = 2e-3  # logits at points that both chose
FINAL = 1e-2  # rendered logits, for 99 of 100 values
# Between the last chosen point and the first that was not, rounding decides.
UNDECIDED = 1e-3


def mask_rows(stages: Stages) -> Iterator[Result]:
    regions = regions_at(stages.golden["det/boxes"], stages.golden["det/classes"])
    head = stages.kit.model.mask_head
    parts = {"mask pooled": _pooled(stages, regions)}
    if isinstance(head, ConvMaskHead):
        parts["mask logits"] = _conv_mask_head(stages, regions)
    else:
        implicit = isinstance(head, ImplicitMaskHead)
        name = "mask parameters" if implicit else "coarse logits"
        parts[name] = _parameters(stages, regions) if implicit else _coarse(stages, regions)
        parts["grid logits"] = _grid(stages, regions)
        parts["logits of all classes at a point"] = _all_classes_at_a_point(stages, regions)
        parts |= {f"step {step}": _step(stages, step, regions) for step in range(1, 4)}
        parts["rendered logits"] = _rendered(stages, regions)
    for name, rows in parts.items():
        yield from part(stages.file, name, rows)


def _pooled(stages: Stages, regions: Any) -> Iterator[Row]:
    which, golden = stages.golden["mask/which"], stages.golden["mask/pooled"]
    if isinstance(stages.kit.model.mask_head, ConvMaskHead):
        side = stages.kit.config.model.mask.conv_pooler_resolution
        features = pooled(stages, regions.boxes, side)
    else:
        pool = partial(pool_on_grid, side=14)
        grid = jax.jit(pool)(stages.pyramid["p2"], regions.boxes, regions.image_index)
        features = np.moveaxis(np.asarray(grid), -1, 1)
    yield stages.row("mask pooled", features[which, ::8], golden, HEAD)


def _conv_mask_head(stages: Stages, regions: Any) -> Iterator[Row]:
    stages.golden.require("mask/logits_own_class", "mask/logits_all_classes")
    logits = stages.run(
        lambda m, p, r, hw: m.mask_head(p, r, hw), stages.pyramid, regions, stages.batch.padded_hw
    )
    own = np.asarray(jax.jit(select_class)(logits, regions.classes))[:, ::2, ::2, 0]
    yield stages.row("mask logits", own, stages.golden["mask/logits_own_class"], MASK)
    all_classes = np.moveaxis(logits[0], -1, 0)
    golden = stages.golden["mask/logits_all_classes"]
    yield stages.row("mask logits of all classes", all_classes, golden, MASK)


def _parameters(stages: Stages, regions: Any) -> Iterator[Row]:
    stages.golden.require("mask/which", "mask/parameters", "mask/parameters_all_instances")
    parameters = stages.run(
        lambda m, p, r: m.mask_head.parameter_head(p["p2"], r.boxes, r.image_index),
        stages.pyramid,
        regions,
    )
    which = stages.golden["mask/which"]
    for name, ours in (
        ("parameters", parameters[which, ::97]),
        ("parameters_all_instances", parameters[:, :: 97 * 31]),
    ):
        yield stages.row(f"mask {name}", ours, stages.golden[f"mask/{name}"], HEAD)


def _coarse(stages: Stages, regions: Any) -> Iterator[Row]:
    stages.golden.require("mask/which", "mask/coarse_own_class", "mask/coarse_all_classes")
    coarse = stages.run(
        lambda m, p, r: m.mask_head.coarse_head(p["p2"], r.boxes, r.image_index),
        stages.pyramid,
        regions,
    )
    own = np.asarray(jax.jit(select_class)(coarse, regions.classes))[..., 0]
    yield stages.row("coarse logits", own, stages.golden["mask/coarse_own_class"], MASK)
    of_two = np.moveaxis(coarse[stages.golden["mask/which"]], -1, 1)
    golden = stages.golden["mask/coarse_all_classes"]
    yield stages.row("coarse logits of all classes", of_two, golden, MASK)


def _grid(stages: Stages, regions: Any) -> Iterator[Row]:
    stages.golden.require("mask/which", "mask/step0/logits", "mask/step0/logits_all_instances")

    def grid(m: MaskRCNN, pyramid: Pyramid, regions: Any) -> Any:
        side = m.mask_head.start[0]  # type: ignore[union-attr]
        predict = m.mask_head.point_predictor(pyramid, regions)  # type: ignore[union-attr]
        return grid_step(predict, regions.boxes.shape[0], side).logits[..., 0]

    logits = stages.run(grid, stages.pyramid, regions)
    which = stages.golden["mask/which"]
    yield stages.row("grid logits", logits[which], stages.golden["mask/step0/logits"], MASK)
    golden = stages.golden["mask/step0/logits_all_instances"].astype(np.float32)
    # Stored in half precision: what that rounds away is taken off, value by value.
    apart = np.abs(logits[:, 1::3, 1::3] - golden) - np.abs(golden) * 2.0**-11
    apart = np.maximum(apart, 0)
    yield stages.row("grid logits of all instances", apart, np.zeros_like(golden), MASK)


def _all_classes_at_a_point(stages: Stages, regions: Any) -> Iterator[Row]:
    """A region for each class, one point each."""
    golden = stages.golden["mask/step0/all_classes_point_400"]
    which, num_classes = stages.golden["mask/which"], golden.shape[1]
    boxes = np.repeat(np.asarray(regions.boxes)[which], num_classes, axis=0)
    every_class = regions_at(boxes, np.tile(np.arange(num_classes), len(which)))
    point = stages.golden["mask/step0/coords"][400]
    coords = np.broadcast_to(point, (len(boxes), 1, 2))
    logits = stages.run(
        lambda m, p, r, c: m.mask_head.point_predictor(p, r)(c),
        stages.pyramid,
        every_class,
        coords,
    )
    ours = logits.reshape(golden.shape)
    yield stages.row("logits of all classes at a point", ours, golden, MASK)


def _step(stages: Stages, step: int, regions: Any) -> Iterator[Row]:
    """One subdivision of the golden logits before it."""
    g = stages.golden
    g.require(*(f"mask/step{step}/{name}" for name in
                ("indices", "kth_uncertainty", "point_logits")))  # fmt: skip
    before = g[f"mask/step{step - 1}/logits"][..., None]
    which = g["mask/which"][: len(before)]
    chosen = jax.tree.map(lambda x: np.asarray(x)[which], regions)
    num_points = stages.kit.config.model.mask.subdivision_num_points
    ours = stages.run(
        lambda m, p, r, x: subdivide(
            x, m.mask_head.point_predictor(p, r), binary_uncertainty, num_points
        ),
        stages.pyramid,
        chosen,
        before,
    )
    undecided, difference = 0, 0.0
    for i, instance in enumerate(which):
        uncertainty = ours.uncertainty[i].reshape(-1)
        golden_set = g[f"mask/step{step}/indices"][i]
        shared = np.intersect1d(golden_set, ours.point_indices[i])
        apart = np.setxor1d(golden_set, ours.point_indices[i])
        kth = g[f"mask/step{step}/kth_uncertainty"][instance]
        undecided += int(np.sum(~(np.abs(uncertainty[apart] - kth) <= UNDECIDED)))
        golden_logits = dict(zip(golden_set, g[f"mask/step{step}/point_logits"][i], strict=True))
        at_shared = ours.logits[i].reshape(-1)[shared]
        expected = np.array([golden_logits[index] for index in shared])
        # Not `max`, which would drop a NaN.
        difference = float(np.maximum(difference, np.abs(at_shared - expected).max(initial=0)))
    yield stages.row(f"step {step}: points that only one chose", undecided, 0, 0)
    yield stages.row(f"step {step}: logits at points", difference, 0.0, POINT)
    if step < 3:
        golden = g[f"mask/step{step}/logits"]
        whole = ours.logits[: len(golden), ..., 0]
        yield fraction_row(stages.file, f"step {step}: map", whole, golden, FINAL, 0.01)


def _rendered(stages: Stages, regions: Any) -> Iterator[Row]:
    """All steps from our own grid."""
    names = ("which", "final_logits", "final_all_instances", "final_positive_fraction")
    stages.golden.require(*(f"mask/{name}" for name in names))
    _, steps = stages.run(lambda m, p, r: m.mask_head.explain(p, r), stages.pyramid, regions)
    # The first ones predict every pixel; Detectron2 has the last of them alone.
    choosing = [s for s in steps if s.point_indices.shape[1] < s.uncertainty[0].size]
    for number, step in enumerate(choosing, 1):
        uncertainty = step.uncertainty.reshape(len(regions.boxes), -1)
        num_points = stages.kit.config.model.mask.subdivision_num_points
        ordered = -np.sort(-uncertainty, axis=1)
        for name, position in (("kth", num_points - 1), ("next", num_points)):
            yield fraction_row(
                stages.file,
                f"step {number}: {name} uncertainty",
                ordered[:, position],
                stages.golden[f"mask/step{number}/{name}_uncertainty"],
                FINAL,
                0.01,
            )
    final = steps[-1].logits[..., 0]
    which = stages.golden["mask/which"][:1]
    golden = stages.golden["mask/final_logits"]
    yield fraction_row(stages.file, "rendered logits", final[which], golden, FINAL, 0.01)
    golden = stages.golden["mask/final_all_instances"].astype(np.float32)
    half = np.abs(golden) * 2.0**-11
    difference = np.maximum(np.abs(final[:, 8::16, 8::16] - golden) - half, 0)
    name = "rendered logits of all instances"
    yield fraction_row(stages.file, name, difference, np.zeros_like(golden), FINAL, 0.01)
    positive = (final > 0).mean(axis=(1, 2))
    golden = stages.golden["mask/final_positive_fraction"]
    yield stages.row("positive fraction", positive, golden, 2e-3)
