"""Training of a kit's model: samples, losses, gradients, two steps, from pinned random numbers."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.layers.conv_mask_head import ConvMaskHead
from pointrend_jax.layers.mask_head import PointRendMaskHead
from pointrend_jax.layers.regions import flat_bits, mask_index
from pointrend_jax.models.mask_rcnn import InstanceNoise, MaskRCNN
from pointrend_jax.ops.losses import select_class
from pointrend_jax.ops.points import point_sample_bits, points_in_image
from pointrend_jax.pointrend import binary_uncertainty, choose_training_points
from pointrend_jax.structures import InstanceBatch
from pointrend_jax.tasks.instance import instance_task
from pointrend_jax.training.checkpoints import array_shapes
from pointrend_jax.training.optimizer import build_optimizer
from tests.parity.compare import Row, fraction_row, row
from tests.parity.kit import KitModel, load_golden, load_model
from tests.parity.matching import matched_rows, proposals_of
from tests.parity.train_inputs import PinnedCalls, Samples, pinned_noise, training_batch

Golden = dict[str, np.ndarray]

LOSS = 1e-4  # relative
NORM = 1e-3  # relative
SLICE = 1e-2  # of the largest value of the slice

# Detectron2's names of what a kit may change for its run.
OVERRIDES = {
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": "model.rpn.pre_nms_topk_train",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": "model.rpn.post_nms_topk_train",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "model.box.samples_per_image",
    "SOLVER.BASE_LR": "train.learning_rate",
}


class Points(NamedTuple):
    """Training points of the mask regions in image pixels [N, P, 2], and their labels [N, P]."""

    coords: Any
    labels: Any


def train_rows(kit: Path, folder: Path) -> Iterator[Row]:
    """All rows of one train.npz."""
    file, golden = f"{folder.name}/train", load_golden(folder / "train.npz")
    overrides = json.loads(str(golden["overrides"]))
    unknown = sorted(overrides.keys() - OVERRIDES.keys())
    if unknown:
        raise ValueError(f"{folder}/train.npz overrides {unknown}, which has no field of ours.")
    changes = {OVERRIDES[name]: value for name, value in overrides.items()}
    # The kit takes its two steps at this rate from the start.
    changes |= {"train.warmup_steps": 0, "train.milestones": ()}
    model = load_model(folder, changes)
    batch = training_batch(kit, golden)
    calls = PinnedCalls(model.tag, json.loads(str(golden["pinned_calls"])))
    yield row(
        file, "learning rate", model.config.train.learning_rate, golden["optimizer/lr_used"], 0
    )

    noise, samples = pinned_noise(model, batch, calls)
    yield row(file, "random calls of another size", calls.misfits, 0, 0)
    yield from _sample_rows(file, golden, samples, noise, batch, model)
    if not isinstance(model.model.mask_head, ConvMaskHead):
        yield from _point_rows(file, golden, model, batch, noise, samples)
    yield from _step_rows(file, golden, model, batch, noise, calls)


def _sample_rows(
    file: str,
    golden: Golden,
    samples: Samples,
    noise: InstanceNoise,
    batch: InstanceBatch,
    kit: KitModel,
) -> Iterator[Row]:
    rpn = kit.config.model.rpn
    samples = jax.tree.map(np.asarray, samples)
    slots = len(samples.regions.valid) // len(batch.valid)
    for i in range(len(batch.valid)):
        priority = np.asarray(noise.anchor_priority)[i]
        labels = samples.anchor_labels[i]
        positives = _first(
            labels == 1, priority, int(rpn.samples_per_image * rpn.positive_fraction)
        )
        negatives = _first(labels == 0, priority, rpn.samples_per_image - len(positives))
        for kind, ours in (("pos", positives), ("neg", negatives)):
            theirs = golden[f"rpn_labels/{i}/{kind}"]
            apart = len(np.setxor1d(ours, theirs))
            yield row(file, f"image {i}: sampled anchors ({kind}) apart", apart, 0, 0)
        truth = np.asarray(batch.boxes)[i][samples.anchor_gt[i]]
        theirs = golden[f"rpn_labels/{i}/pos"], golden[f"rpn_labels/{i}/pos_gt_boxes"]
        yield row(file, f"image {i}: boxes of the positive anchors", truth[theirs[0]], theirs[1], 0)
        yield row(file, f"image {i}: anchors", len(labels), golden[f"rpn_labels/{i}/num"], 0)

        valid = samples.proposals.valid[i]
        zeros = np.zeros(int(valid.sum()))
        ours = samples.proposals.boxes[i][valid], samples.proposals.logits[i][valid], zeros
        yield from matched_rows(
            file, f"image {i}: proposals", ours, proposals_of(golden, f"rpn_proposals/{i}"),
            score_tolerance=2e-3, unmatched=0.0,
        )  # fmt: skip

        box = jax.tree.map(lambda x, i=i: x[i], samples.box_samples)
        theirs = {k: golden[f"roi_samples/{i}/{k}"] for k in ("boxes", "classes", "gt_boxes")}
        yield row(file, f"image {i}: sampled boxes", box.boxes[box.valid], theirs["boxes"], 0.2)
        yield row(file, f"image {i}: sampled classes", box.classes[box.valid], theirs["classes"], 0)
        # Of background the kit stores a ground-truth box too; it is never read.
        truth = np.asarray(batch.boxes)[i][box.gt_index][box.foreground]
        foreground = theirs["gt_boxes"][theirs["classes"] < kit.config.num_classes]
        yield row(file, f"image {i}: sampled gt_boxes", truth, foreground, 0)

        part = slice(i * slots, (i + 1) * slots)
        valid = samples.regions.valid[part]
        for name, ours in (
            ("boxes", samples.regions.boxes[part][valid]),
            ("classes", samples.regions.classes[part][valid]),
        ):
            tolerance = 0.0 if name == "classes" else 0.2
            theirs = golden[f"mask_samples/{i}/{name}"]
            yield row(file, f"image {i}: mask {name}", ours, theirs, tolerance)


def _point_rows(
    file: str,
    golden: Golden,
    kit: KitModel,
    batch: InstanceBatch,
    noise: InstanceNoise,
    samples: Samples,
) -> Iterator[Row]:
    """Where the points lie and what their labels are; points of equal uncertainty may swap."""

    def points(m: MaskRCNN) -> Points:
        regions, coords = samples.regions, noise.candidates.uniform
        if isinstance(m.mask_head, PointRendMaskHead):
            pyramid = m.pyramid(batch.images, batch.image_hw, batch.padded_hw)
            coarse = m.mask_head.coarse_head(pyramid["p2"], regions.boxes, regions.image_index)
            coords = choose_training_points(
                noise.candidates, select_class(coarse, regions.classes), binary_uncertainty,
                num_points=m.mask_head.train_num_points,
            )  # fmt: skip
        in_image = points_in_image(regions.boxes, coords)
        labels = point_sample_bits(flat_bits(batch), mask_index(regions, batch), in_image)
        return Points(in_image, labels)

    ours = jax.jit(lambda variables: kit.model.apply(variables, method=points))(kit.variables)
    valid = np.asarray(samples.regions.valid)
    coords, labels = (np.asarray(x)[valid] for x in ours)
    theirs = golden["points/coords_wrt_image_first2"]
    yield fraction_row(file, "training points, px", coords[: len(theirs)], theirs, 0.05, 0.02)
    yield fraction_row(file, "labels of the points", labels, golden["points/labels"], 1e-2, 0.02)


def _first(candidates: np.ndarray, priority: np.ndarray, number: int) -> np.ndarray:
    index = np.flatnonzero(candidates)
    return index[np.argsort(priority[index], kind="stable")][:number]


def _step_rows(
    file: str,
    golden: Golden,
    kit: KitModel,
    batch: InstanceBatch,
    noise: InstanceNoise,
    calls: PinnedCalls,
) -> Iterator[Row]:
    frozen, shapes = kit.variables["frozen"], array_shapes(kit.variables)

    def total_loss(params: Any, noise: InstanceNoise) -> tuple[Any, Any]:
        variables = {"params": params, "frozen": frozen}
        terms: Any = kit.model.apply(variables, batch, noise, method=MaskRCNN.losses)
        losses = {k: t.total / jnp.maximum(t.denominator, 1.0) for k, t in terms.items()}
        return sum(losses.values(), jnp.zeros(())), losses

    task = instance_task(kit.model)
    params = kit.variables["params"]
    (_, losses), gradients = jax.jit(jax.value_and_grad(total_loss, has_aux=True))(params, noise)
    yield from _loss_rows(file, "", losses, golden, "loss")

    trained = {
        path
        for path in array_shapes({"params": params})
        if task.is_trainable(tuple(path.split("/")[1:]))
    }

    def named(tree: Any) -> dict[str, np.ndarray]:
        """Trained arrays by Detectron2 name."""
        leaves = jax.tree_util.tree_flatten_with_path({"params": tree})[0]
        paths = {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}
        return export_detectron2({p: np.asarray(paths[p]) for p in sorted(trained)}, shapes)

    yield from _gradient_rows(file, golden, named(gradients))
    start = _slices(golden, named(params))
    yield row(file, "slices at the start", start, golden["slice/init"], 0)

    optimizer, _ = build_optimizer(kit.config, params, task.is_trainable)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    # The kit's weights are given up here: the largest model takes 1.4 GB for each copy.
    state = optimizer.init(params)
    for number in (1, 2):
        params, state = step(params, state, gradients)
        yield from _moved_rows(file, golden, number, _slices(golden, named(params)))
    del state, gradients
    moved = kit._replace(variables={"params": params, "frozen": frozen})
    # The kit has no sizes of the second pass's random calls, whose candidates are others; that the
    # same were chosen, the losses show.
    after, _ = pinned_noise(moved, batch, calls)
    losses = jax.jit(total_loss)(params, after)[1]
    yield from _loss_rows(file, "after two steps: ", losses, golden, "loss_after_2_steps")


def _loss_rows(file: str, label: str, losses: Any, golden: Golden, group: str) -> Iterator[Row]:
    theirs = {k.partition("/")[2]: float(v) for k, v in golden.items() if k.startswith(f"{group}/")}
    yield row(file, f"{label}losses by other names", len(losses.keys() ^ theirs.keys()), 0, 0)
    for name in sorted(losses.keys() & theirs.keys()):
        tolerance = LOSS * abs(theirs[name])
        yield row(file, f"{label}{name}", losses[name], theirs[name], tolerance)


def _gradient_rows(file: str, golden: Golden, gradients: dict[str, np.ndarray]) -> Iterator[Row]:
    names = [str(name) for name in golden["grad/names"]]
    yield row(file, "trained arrays by other names", len(gradients.keys() ^ set(names)), 0, 0)
    worst = 0.0
    for name, norm in zip(names, golden["grad/norms"], strict=True):
        ours = _norm(gradients[name])
        # Not `max`, which would drop a NaN.
        worst = float(np.maximum(worst, abs(ours - norm) / max(norm, 1e-12)))
    yield row(file, f"gradient norms of {len(names)} arrays, relative", worst, 0.0, NORM)
    yield from _worst_row(file, "gradient slices", _slices(golden, gradients), golden["slice/grad"])


def _moved_rows(file: str, golden: Golden, number: int, ours: np.ndarray) -> Iterator[Row]:
    """How far the parameters moved; rounding of the parameters themselves is allowed."""
    start = golden["slice/init"].astype(np.float64)
    theirs = golden[f"slice/step{number}"].astype(np.float64)
    name = f"change of slices after step {number}"
    rounding = 2 * np.abs(start).max(axis=1) * 2.0**-24
    yield from _worst_row(file, name, ours.astype(np.float64) - start, theirs - start, rounding)


def _worst_row(
    file: str, name: str, ours: np.ndarray, golden: np.ndarray, rounding: Any = 0.0
) -> Iterator[Row]:
    """The worst of all slices, each relative to its own largest value."""
    apart = np.maximum(np.abs(ours - golden).max(axis=1) - rounding, 0)
    yield row(
        file,
        f"{name}, relative",
        np.max(apart / np.maximum(np.abs(golden).max(axis=1), 1e-30)),
        0.0,
        SLICE,
    )


def _slices(golden: Golden, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """48 elements of each of the kit's chosen arrays."""
    rows = []
    for name in golden["slice/names"]:
        array = arrays[str(name)]
        index = np.arange(0, array.size, max(1, array.size // 48))[:48]
        # Picked one by one: the largest array would take another 1.2 GB if it were laid out anew.
        rows.append(np.resize(array[np.unravel_index(index, array.shape)], 48))
    return np.stack(rows)


def _norm(array: np.ndarray) -> float:
    """Summed in float64 without a copy of that type."""
    flat = array.ravel(order="K")
    return float(np.sqrt(np.einsum("i,i->", flat, flat, dtype=np.float64)))
