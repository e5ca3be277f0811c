"""What bfloat16 changes of what a trained model gives: every score, and object by object.

    python -m benchmarks.half_precision --workdir runs/pennfudan

Scores the newest checkpoint of a run on its evaluation set twice, as it is and with
`config.model.compute_dtype="bfloat16"`. Detections of a run of instances are matched by class and
mask, the best IoU first; only those that both runs give with a score of at least a threshold, or
one of them, are counted. So are the masks of each that overlap the true objects most.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pointrend_jax.cli.errors import with_clear_errors
from pointrend_jax.config import with_newer_fields
from pointrend_jax.data.build_objects import EvalSet
from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.evaluation.results import Results
from pointrend_jax.masks.rle import rle_iou
from pointrend_jax.storage import write_json
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.scoring import build_task_eval_set, score
from pointrend_jax.training.saved_variables import load_variables

_MIN_IOU = 0.5
_TYPES = ("float32", "bfloat16")
_LEADING = ("box_ap", "mask_ap", "mask_ap75", "boundary_ap", "miou", "boundary_iou")


class Matched(NamedTuple):
    """Of all detections above a threshold in either type.

    share: of those that have a partner in the other type. mask_iou, score_difference,
    box_difference: of the pairs, the first a mean, the others the mean and the largest; in pixels.
    """

    number: int
    share: float
    mask_iou: float
    score_difference: tuple[float, float]
    box_difference: tuple[float, float]


class Overlaps(NamedTuple):
    """IoU of true objects with the masks that overlap them most, in either type.

    one, other: means over all objects. difference: of the means, `other` less `one`.
    of_an_object: the mean of an object's own difference, without its sign.
    """

    one: float
    other: float
    difference: float
    of_an_object: float


def overlaps(
    one: list[dict[str, Any]],
    other: list[dict[str, Any]],
    truth: Mapping[str, Any],
    threshold: float,
) -> Overlaps:
    """How well the masks of detections with at least that score cover the truth, crowds left out.

    An object that none of its class overlaps counts as 0.

    Args:
      one, other: in COCO's results format. truth: the content of a COCO annotation file.
    """
    index: Any = load_ground_truth(truth)
    objects = [o for o in index.dataset["annotations"] if not o["iscrowd"]]
    best = np.zeros((2, len(objects)))
    for side, detections in enumerate((one, other)):
        masks = defaultdict(list)
        for found in detections:
            if found["score"] >= threshold:
                masks[found["image_id"], found["category_id"]].append(found["segmentation"])
        for place, own in enumerate(objects):
            if of_class := masks[own["image_id"], own["category_id"]]:
                best[side, place] = rle_iou(of_class, [own["segmentation"]], [0]).max()
    if not objects:
        return Overlaps(np.nan, np.nan, np.nan, np.nan)
    ours, theirs = best.mean(axis=1).tolist()
    return Overlaps(ours, theirs, theirs - ours, float(np.abs(best[1] - best[0]).mean()))


def matched(one: list[dict[str, Any]], other: list[dict[str, Any]], threshold: float) -> Matched:
    """Compares detections in COCO's results format.

    A detection counts if its own score reaches the threshold; its partner's may be lower, so that
    one that lies at the threshold is not taken for a loss.
    """
    groups: dict[tuple[int, int], tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for side, detections in enumerate((one, other)):
        for found in detections:
            groups[found["image_id"], found["category_id"]][side].append(found)
    number = alone = 0
    pairs = []
    for ours, theirs in groups.values():
        own_pairs = _pairs(ours, theirs)
        partners = [{i for i, _, _ in own_pairs}, {j for _, j, _ in own_pairs}]
        for side, detections in zip(partners, (ours, theirs), strict=True):
            reached = [k for k, found in enumerate(detections) if found["score"] >= threshold]
            number += len(reached)
            alone += sum(k not in side for k in reached)
        pairs += [
            (iou, ours[i], theirs[j])
            for i, j, iou in own_pairs
            if max(ours[i]["score"], theirs[j]["score"]) >= threshold
        ]
    scores = [abs(a["score"] - b["score"]) for _, a, b in pairs] or [np.nan]
    boxes = [np.abs(_sides(a) - _sides(b)).max() for _, a, b in pairs] or [np.nan]
    return Matched(
        number,
        1 - alone / number if number else np.nan,
        float(np.mean([iou for iou, _, _ in pairs])) if pairs else np.nan,
        (float(np.mean(scores)), float(np.max(scores))),
        (float(np.mean(boxes)), float(np.max(boxes))),
    )


def _pairs(ours: list[Any], theirs: list[Any]) -> list[tuple[int, int, float]]:
    """(ours, theirs, IoU of the masks), the best first, each once."""
    if not ours or not theirs:
        return []
    masks = [[found["segmentation"] for found in side] for side in (ours, theirs)]
    iou = np.array(rle_iou(masks[0], masks[1], [0] * len(theirs)))
    pairs = []
    while iou.max() >= _MIN_IOU:
        i, j = (int(k) for k in np.unravel_index(np.argmax(iou), iou.shape))
        pairs.append((i, j, float(iou[i, j])))
        iou[i], iou[:, j] = -1, -1
    return pairs


def _sides(found: dict[str, Any]) -> np.ndarray:
    x, y, width, height = found["bbox"]
    return np.array([x, y, x + width, y + height])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.05, 0.5])
    parser.add_argument("--output", type=Path, help="JSON of what is printed")
    args = parser.parse_args()
    variables, meta, step = load_variables(args.workdir)
    data = None
    results: list[Results] = []
    detections: list[list[dict[str, Any]]] = []
    for kind in _TYPES:
        config = with_newer_fields(meta.config).copy_and_resolve_references()
        config.model.compute_dtype = kind
        data = build_task_eval_set(config) if data is None else data
        scores = score(build_task(config), variables, data, config)
        results.append(scores.results)
        with tempfile.TemporaryDirectory() as folder:
            scores.save_details(Path(folder))
            file = Path(folder) / "detections_rendered.json"
            if file.is_file():
                detections.append(json.loads(file.read_text()))
    print(f"{args.workdir.name}, step {step}, on {jax.devices()[0].device_kind}")
    print(f"| score | {_TYPES[0]} | {_TYPES[1]} | difference, points |\n|---|---|---|---|")
    for name, (one, other) in _by_name(*results).items():
        print(f"| {name} | {100 * one:.2f} | {100 * other:.2f} | {100 * (other - one):+.2f} |")
    found = {}
    if isinstance(data, EvalSet):
        (one, other), truth = detections, data.eval_ground_truth
        for t in args.thresholds:
            of_truth = overlaps(one, other, truth, t)._asdict()
            found[t] = matched(one, other, t)._asdict() | {"objects": of_truth}
    for threshold, what in found.items():
        print(f"detections of a score of at least {threshold}: {json.dumps(_without_nan(what))}")
    if args.output:
        write_json(args.output, {"scores": _by_name(*results), "detections": _without_nan(found)})


def _without_nan(found: Any) -> Any:
    """With None for what there is no number of, as JSON has no NaN."""
    if isinstance(found, Mapping):
        return {name: _without_nan(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_without_nan(value) for value in found]
    return None if isinstance(found, float) and np.isnan(found) else found


def _by_name(*results: Results) -> dict[str, tuple[float, ...]]:
    """The leading scores, in both types."""
    found = {}
    for group in ("box", "coarse", "rendered"):
        for name in _LEADING:
            values = [own.get(group, {}).get(name) for own in results]
            # None where there was nothing to find.
            known = tuple(value for value in values if value is not None)
            if len(known) == len(results):
                found[f"{group} {name}"] = known
    return found


if __name__ == "__main__":
    with_clear_errors(main)
