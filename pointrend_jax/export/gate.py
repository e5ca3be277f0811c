"""Whether an export gives what `predict()` gives: run at once, in its own runtime, on photos."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pointrend_jax.export import reader, runtime
from pointrend_jax.messages import first_lines
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.label_maps import PredictedLabels

Predicted = PredictedInstances | PredictedLabels

# What may differ: of an object the symmetric difference of its masks, as a share of their union;
# its score; its box in pixels of the original image; of a photo the share of pixels with other
# labels.
LIMITS = {"mask": 1e-3, "score": 1e-3, "box": 0.05, "labels": 1e-3}
# How often all photos are predicted for the time, after once for the results.
_ROUNDS = 3
# An error lists this many differences.
_LISTED = 5


class Gate(NamedTuple):
    """What was measured of an export.

    Attributes:
      photos, objects: how many were compared, parts of photos among them.
      compared: of each program of this platform its file, the names of the photos that it was run
        on, and the number of their objects.
      differences, means: the largest and the mean of each kind of `LIMITS`; None where there was
        nothing to compare.
      unmatched: objects that the other has not; in neither of these.
      predict_seconds, seconds: medians for one photo, from pixels to run lengths or labels.
      load_seconds: of opening the export. program_bytes: arguments, results and temporaries of its
        largest program, None where the backend does not tell. peak_bytes: resident memory of its
        process, compiling included.
    """

    photos: int
    objects: int
    compared: list[dict[str, Any]]
    differences: dict[str, float | None]
    means: dict[str, float | None]
    unmatched: int
    predict_seconds: float
    seconds: float
    load_seconds: float
    program_bytes: int | None
    peak_bytes: int


def check_export(
    file: Path,
    predict: Callable[[np.ndarray], Any],
    photos: Mapping[str, np.ndarray],
    *,
    reader_file: str = reader.__file__,
    within_limits: bool = True,
    in_this_process: bool = False,
) -> Gate:
    """Runs the export of `file` and compares it with `predict`.

    Args:
      photos: by what a message calls them; each program must take one (export/covering.py).
      reader_file: its `Exported` is what runs the export.
      within_limits: whether it must differ by no more than `LIMITS`; otherwise it is measured.
      in_this_process: where one process alone may hold the device, as a TPU. Whatever else can be
        imported is not hidden from it then.
    Raises: ValueError, naming photos and objects, if it must not and does, if it does not run, if a
      program took no photo, or there is nothing to compare; in any case for numbers that are NaN or
      infinite, and for label maps of another shape.
    """
    expected: list[Predicted] = [predict(photo) for photo in photos.values()]
    counts = [len(e) if isinstance(e, PredictedInstances) else 0 for e in expected]
    of_instances = any(isinstance(e, PredictedInstances) for e in expected)
    if not photos or (of_instances and not any(counts)):
        raise ValueError(
            f"the model finds nothing on the {len(photos)} photos that the export is compared on; "
            "give others, of what it was trained for: --photos (in Python photos=[...])."
        )
    seconds = []
    for photo in list(photos.values()) * _ROUNDS:
        start = time.perf_counter()
        _delivered(predict(photo))
        seconds.append(time.perf_counter() - start)
    found, taken, measured = _run((reader_file, file), list(photos.values()), in_this_process)
    unrun = [name for name, numbers in taken.items() if not numbers]
    if unrun:
        raise ValueError(
            f"no photo went to {', '.join(unrun)}, so the export was not compared as a whole and "
            "not kept; give --photos of other shapes, or leave that --canvas or --largest out."
        )
    values: dict[str, list[float]] = {kind: [] for kind in LIMITS}
    wrong, unmatched = [], 0
    for name, ours, theirs in zip(photos, expected, found, strict=True):
        _check_comparable(ours, theirs, name)
        for where, kind, value in differences(ours, theirs):
            if np.isfinite(value):
                values[kind].append(value)
            else:
                unmatched += 1
            if not value <= LIMITS[kind]:
                wrong.append(f"{name}, {where}: {kind} {value:.3g} (at most {LIMITS[kind]})")
    if wrong and within_limits:
        raise ValueError(
            f"the export differs from predict() at {len(wrong)} places, so it was not kept:\n  "
            + "\n  ".join(first_lines(wrong, _LISTED))
        )
    kinds = ("mask", "score", "box") if of_instances else ("labels",)
    worst = {kind: max(values[kind], default=None) for kind in kinds}
    means = {kind: float(np.mean(values[kind])) if values[kind] else None for kind in kinds}
    names = list(photos)
    compared = [
        {
            "file": program,
            "photos": [names[i] for i in numbers],
            "objects": sum(counts[i] for i in numbers),
        }
        for program, numbers in taken.items()
    ]
    return Gate(
        len(photos), sum(counts), compared, worst, means, unmatched, float(np.median(seconds)),
        **measured,
    )  # fmt: skip


def _check_comparable(ours: Predicted, theirs: dict[str, Any], where: str) -> None:
    """Raises ValueError for results that no difference is measured of."""
    if isinstance(ours, PredictedLabels):
        if theirs["labels"].shape != ours.labels.shape:
            raise ValueError(
                f"{where}: the export's label map is {list(theirs['labels'].shape)} and that of "
                f"predict() {list(ours.labels.shape)}, so it was not kept."
            )
        return
    for who, boxes, scores in (
        ("the export", theirs["boxes"], theirs["scores"]),
        ("predict()", ours.boxes, ours.scores),
    ):
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError(
                f"{where}: boxes or scores of {who} are NaN or infinite, so the export was not "
                "kept; a type with a larger range of numbers, or other weights, may mend it."
            )


def differences(ours: Predicted, theirs: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Where, in which kind of `LIMITS` and by how much an export's result differs.

    An object that the other has not, within half of its shorter side, differs without bound.
    """
    if isinstance(ours, PredictedLabels):
        yield "its label map", "labels", float((theirs["labels"] != ours.labels).mean())
        return
    left = list(range(len(theirs["boxes"])))
    for i, (box, score, label) in enumerate(
        zip(ours.boxes, ours.scores, ours.classes, strict=True)
    ):
        where = f"object {i} ({ours.class_names[i]} {score:.2f})"
        apart = {
            j: float(np.abs(theirs["boxes"][j] - box).max())
            for j in left
            if theirs["classes"][j] == label
        }
        nearest = min(apart, key=lambda j: apart[j], default=None)
        if nearest is None or apart[nearest] > min(box[2:] - box[:2]) / 2:
            yield where, "box", float("inf")
            continue
        left.remove(nearest)
        yield where, "box", apart[nearest]
        yield where, "score", float(abs(theirs["scores"][nearest] - score))
        mask = reader.mask_of(theirs["runs"][nearest], *ours.image_hw)
        yield where, "mask", _apart(ours.masks.boolean(i), mask)
    for j in left:
        yield f"object {j} of the export, which predict() has not", "box", float("inf")


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The symmetric difference as a share of the union; 0 of two empty masks."""
    return float((ours ^ theirs).sum() / max((ours | theirs).sum(), 1))


def _delivered(predicted: Predicted) -> object:
    """As much of a prediction as an export gives."""
    return predicted.masks.rle() if isinstance(predicted, PredictedInstances) else predicted.labels


def _run(
    files: tuple[str, Path], photos: Sequence[np.ndarray], in_this_process: bool
) -> tuple[list[dict[str, Any]], dict[str, list[int]], dict[str, Any]]:
    """Runs a reader on an export.

    Returns: the results, photo by photo; the photos that went to each program; and what it took.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        given, results = folder / "photos.npz", folder / "results.npz"
        arrays: dict[str, Any] = {str(i): photo for i, photo in enumerate(photos)}
        np.savez(given, **arrays)
        arguments = [*map(str, files), str(given), str(results), str(_ROUNDS)]
        run = runtime.run if in_this_process else _in_its_own_process
        measured = run(*arguments)
        with np.load(results) as stored:
            values = {name: stored[name] for name in stored.files}
    found: list[dict[str, Any]] = [{} for _ in photos]
    runs: list[dict[int, np.ndarray]] = [{} for _ in photos]
    for name, value in values.items():
        photo, kind, *number = name.split("/")
        if number:
            runs[int(photo)][int(number[0])] = value
        else:
            found[int(photo)][kind] = value
    for own, of_masks in zip(found, runs, strict=True):
        own["runs"] = [of_masks[i] for i in range(len(of_masks))]
    return found, measured.pop("programs"), measured


def _in_its_own_process(*arguments: str) -> dict[str, Any]:
    # On the device of this process, which may hold most of its memory.
    backend = jax.default_backend().replace("gpu", "cuda")
    environment = {"JAX_PLATFORMS": backend, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(
        [sys.executable, "-P", runtime.__file__, *arguments],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = "\n  ".join(done.stderr.strip().splitlines()[-_LISTED:])
        raise ValueError(f"the export does not run by its reader, so it was not kept:\n  {said}")
    return json.loads(done.stdout.splitlines()[-1])
