"""Training of a kit's semantic model: losses, gradients, two steps, from pinned random numbers."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity.compare import Golden, Result, part, row
from parity.kit import KitModel, load_golden, load_model, on_canvas, read_pixels
from parity.train import rate_rows
from parity.train_inputs import PinnedCalls
from parity.train_steps import Tolerances, Training, smallest_gap, step_rows, training_changes
from pointrend_jax.models.semantic_segmentor import SemanticSegmentor
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.ops.points import point_sample
from pointrend_jax.pointrend import CandidatePoints
from pointrend_jax.structures import DATA_AXIS, IGNORE_LABEL, SemanticBatch

# Two runs of Detectron2 differ by 2e-4 after the two steps.
_FIXED_NORMS = Tolerances(later_loss=1e-3)
# Statistics of the batch: theirs differ by 1e-3 and 2e-2 in gradients.
_BATCH_NORMS = Tolerances(later_loss=1e-3, norm=1e-2, slice=5e-2)


def semantic_train_rows(kit: Path, folder: Path) -> Iterator[Result]:
    """All rows of one train.npz."""
    file, golden = f"{folder.name}/train", load_golden(folder / "train.npz")
    model = load_model(folder, training_changes(folder, golden))
    batch = semantic_batch(kit, golden, model)
    yield from part(file, "learning rate", rate_rows(file, golden, model))
    calls = PinnedCalls(model.tag, json.loads(str(golden["pinned_calls"])))
    candidates = _pinned_candidates(model, len(batch.images), calls)
    yield row(file, "random calls of another size", calls.misfits, 0, 0)

    def losses(variables: Any, candidates: CandidatePoints | None) -> dict[str, LossTerm]:
        """The losses on one device; norms and the choice of pixels ask for the axis of devices."""

        def on_device(batch: SemanticBatch) -> Any:
            # Mutable statistics make this a training pass; what becomes of them is not needed.
            return model.model.apply(
                variables, batch, candidates, method=SemanticSegmentor.losses, mutable=["buffers"]
            )[0]

        one_device = jax.tree.map(lambda x: x[None], batch)
        terms = jax.vmap(on_device, axis_name=DATA_AXIS)(one_device)
        return jax.tree.map(lambda x: x[0], terms)

    batch_norms = model.config.model.norm == "batch_norm"
    tolerances = _BATCH_NORMS if batch_norms else _FIXED_NORMS
    gap = None if candidates is None else partial(_gap, model.model, batch)
    training = Training(losses, candidates, lambda _: candidates, gap, tolerances)
    yield from step_rows(file, golden, model, training)


def _gap(
    model: SemanticSegmentor, batch: SemanticBatch, variables: Any, candidates: CandidatePoints
) -> Any:
    """As in `Training`, of all images."""

    def of_step(m: SemanticSegmentor) -> Any:
        assert m.point_head is not None
        maps = m.maps(batch.images, batch.image_hw, batch.padded_hw)
        logits = point_sample(m.coarse(maps, batch.padded_hw), candidates.oversampled)
        number = m.point_head.train_num_points - candidates.uniform.shape[1]
        return smallest_gap(m.point_head.uncertainty(logits), number, True)

    return model.apply(variables, method=of_step)


def semantic_batch(kit: Path, golden: Golden, model: KitModel) -> SemanticBatch:
    """The images and label maps of a train.npz; they are crops of one size."""
    number = sum(key.endswith("/id") and key.startswith("image") for key in golden)
    images, labels = [], []
    for i in range(number):
        hw = (int(golden[f"image{i}/hw"][0]), int(golden[f"image{i}/hw"][1]))
        image_id, crc32 = int(golden[f"image{i}/id"]), int(golden[f"image{i}/crc32"])
        images.append(read_pixels(kit, image_id, hw, crc32, bgr=model.model.bgr))
        labels.append(golden[f"image{i}/sem_seg"])
    height, width = (-(-max(x.shape[axis] for x in images) // 32) * 32 for axis in (0, 1))
    canvas = on_canvas(images, (height, width), (height, width))
    padded = np.full((number, height, width), IGNORE_LABEL, np.uint8)
    for slot, image_labels in zip(padded, labels, strict=True):
        slot[: image_labels.shape[0], : image_labels.shape[1]] = image_labels
    return SemanticBatch(
        images=canvas.images,
        image_hw=canvas.image_hw,
        padded_hw=canvas.padded_hw,
        image_index=jnp.arange(number, dtype=jnp.int32),
        labels=jnp.asarray(padded),
    )


def _pinned_candidates(kit: KitModel, number: int, calls: PinnedCalls) -> CandidatePoints | None:
    """The kit's random points; None for a model that draws none."""
    keys = jax.random.split(jax.random.key(0), number)
    drawn = jax.eval_shape(
        lambda k: kit.model.apply({}, k, method=SemanticSegmentor.draw_noise), keys
    )
    shapes = [x.shape for x in jax.tree.leaves(drawn)]
    calls.misfits += shapes != calls.uniforms
    if drawn is None:
        return None
    everything = np.ones(number, bool)
    return CandidatePoints(*(jnp.asarray(calls.uniform(i, everything)) for i in (0, 1)))
