"""Training of a kit's model: samples, losses, gradients, two steps, from pinned random numbers."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from parity.compare import Golden, Result, Row, fraction_row, part, row
from parity.kit import KitModel, load_golden, load_model
from parity.matching import matched_rows, proposals_of
from parity.train_inputs import PinnedCalls, Samples, choose, pinned_noise, training_batch
from parity.train_steps import Training, smallest_gap, step_rows, training_changes
from pointrend_jax.layers.conv_mask_head import ConvMaskHead
from pointrend_jax.layers.mask_head import PointRendMaskHead
from pointrend_jax.layers.regions import flat_bits, mask_index
from pointrend_jax.models.mask_rcnn import InstanceNoise, MaskRCNN
from pointrend_jax.ops.losses import LossTerm, select_class
from pointrend_jax.ops.points import point_sample, point_sample_bits, points_in_image
from pointrend_jax.pointrend import binary_uncertainty, choose_training_points
from pointrend_jax.structures import ObjectBatch


class Points(NamedTuple):
    """Training points of the mask regions in image pixels [N, P, 2], and their labels [N, P]."""

    coords: Any
    labels: Any


def train_rows(kit: Path, folder: Path) -> Iterator[Result]:
    """All rows of one train.npz."""
    file, golden = f"{folder.name}/train", load_golden(folder / "train.npz")
    model = load_model(folder, training_changes(folder, golden))
    batch = training_batch(kit, golden)
    calls = PinnedCalls(model.tag, json.loads(str(golden["pinned_calls"])))
    yield from part(file, "learning rate", rate_rows(file, golden, model))

    noise, samples = pinned_noise(model, batch, calls)
    yield row(file, "random calls of another size", calls.misfits, 0, 0)
    for i in range(len(batch.valid)):
        rows = _sample_rows(file, golden, samples, noise, batch, model, i)
        yield from part(file, f"image {i}: samples", rows)
    if not isinstance(model.model.mask_head, ConvMaskHead):
        rows = _point_rows(file, golden, model, batch, noise, samples)
        yield from part(file, "points", rows)

    def losses(variables: Any, noise: InstanceNoise) -> dict[str, LossTerm]:
        terms: Any = model.model.apply(variables, batch, noise, method=MaskRCNN.losses)
        return terms

    # The kit has no sizes of the second pass's random calls, whose candidates are others; that the
    # same were chosen, the losses show.
    def noise_again(moved: KitModel) -> InstanceNoise:
        return pinned_noise(moved, batch, calls)[0]

    chooses = isinstance(model.model.mask_head, PointRendMaskHead)
    gap = partial(_gap, model.model, batch) if chooses else None
    yield from step_rows(file, golden, model, Training(losses, noise, noise_again, gap))


def rate_rows(file: str, golden: Golden, model: KitModel) -> Iterator[Row]:
    """The rate of the kit's two steps."""
    rate = model.config.train.learning_rate
    yield row(file, "learning rate", rate, golden["optimizer/lr_used"], 0)


def _gap(model: MaskRCNN, batch: ObjectBatch, variables: Any, noise: InstanceNoise) -> Any:
    """As in `Training`, of all mask regions of a step."""

    def of_step(m: MaskRCNN) -> Any:
        assert isinstance(m.mask_head, PointRendMaskHead)
        regions = choose(m, batch, noise).regions
        p2 = m.pyramid(batch.images, batch.image_hw, batch.padded_hw)["p2"]
        coarse = m.mask_head.coarse_head(p2, regions.boxes, regions.image_index)
        logits = point_sample(select_class(coarse, regions.classes), noise.candidates.oversampled)
        number = m.mask_head.train_num_points - noise.candidates.uniform.shape[1]
        return smallest_gap(binary_uncertainty(logits), number, regions.valid)

    return model.apply(variables, method=of_step)


def _sample_rows(
    file: str,
    golden: Golden,
    samples: Samples,
    noise: InstanceNoise,
    batch: ObjectBatch,
    kit: KitModel,
    i: int,
) -> Iterator[Row]:
    """What a step chooses of image `i`."""
    rpn = kit.config.model.rpn
    samples = jax.tree.map(np.asarray, samples)
    slots = len(samples.regions.valid) // len(batch.valid)
    priority = np.asarray(noise.anchor_priority)[i]
    labels = samples.anchor_labels[i]
    positives = _first(labels == 1, priority, int(rpn.samples_per_image * rpn.positive_fraction))
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
    # The kit stores a ground-truth box of background too; it is never read.
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
    batch: ObjectBatch,
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
