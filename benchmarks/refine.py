"""What a refiner makes of worse masks, beside a guided filter and GrabCut.

    PYTHONPATH=. python benchmarks/refine.py --checkpoint RUN --images DIR --annotations FILE \
        --output refine.json

Every object's true mask is made worse in each way of `masks.degrade`; Boundary IoU with the true
mask is taken of what was given and of what three methods make of it, with bands of 2 % and of 0.5 %
of the image's diagonal. Prints, for each size of objects (COCO's borders), the gain in points and
the share of (1 - Boundary IoU) that is removed, with 95 % intervals of a paired bootstrap over
images. All methods work on the same crops, and what they change is brought back in the same way.
Last comes the rule (`config.model.refine.keep_below`) by which 19 of 20 true masks would be left
alone: read it off objects that are neither trained on nor judged by, and give it by --keep-below.
--refine-only leaves guided filter and GrabCut out. --also takes outputs of refiners of other seeds,
judged by the same rule, and prints the tables of all together. --pictures DIR draws the three best
and the two worst of the masks that were not left alone.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import cv2
import jax
import numpy as np

from benchmarks.bootstrap_ratio import Interval, paired_ratio
from pointrend_jax.cli.errors import with_clear_errors
from pointrend_jax.coco_file import check_ids, load_coco_file
from pointrend_jax.console import watched
from pointrend_jax.data.batches.crops import Crop, change_by
from pointrend_jax.data.images import read_image
from pointrend_jax.data.sources.annotations import checked_segmentation
from pointrend_jax.evaluation.refined import SIZES, size_of
from pointrend_jax.masks.boundary import boundary_iou
from pointrend_jax.masks.degrade import KINDS, degrade
from pointrend_jax.predict.given_masks import drawn
from pointrend_jax.predict.load import load_refiner
from pointrend_jax.predict.refiner import MaskRefiner
from pointrend_jax.storage import write_json
from pointrend_jax.visualize import overlay_masks, save_picture

BANDS = (0.02, 0.005)
# Of the guided filter, in pixels of the canvas and of intensities from 0 to 1: of radii 1 to 8 and
# of 1e-4 to 1e-2, those that harm least on other objects among those that change more than a trace.
_RADIUS, _EPSILON = 2, 1e-3
# How far from the given outline GrabCut may decide, as a share of the canvas's side.
_OPEN_BAND = 0.04


class Truth(NamedTuple):
    """An object: its id, its image's id and file, its true mask and COCO's area."""

    id: int
    image_id: int
    file: Path
    mask: np.ndarray
    area: float


class Case(NamedTuple):
    """A mask that was made worse, what its error seemed to be, and Boundary IoU by method and band.

    Attributes: error, in pixels of the canvas.
    """

    id: int
    image_id: int
    kind: str
    size: str
    error: float
    ious: dict[str, list[float]]


def truths(images: Path, annotations: Path, most: int, seed: int) -> list[Truth]:
    """Objects with a mask, at most so many of each size, drawn by the seed; by image."""
    content = load_coco_file(annotations)
    entries, _ = check_ids(content, annotations)
    by_size: dict[str, list[Truth]] = {size: [] for size in SIZES}
    for annotation in content["annotations"]:
        if annotation.get("iscrowd"):
            continue
        entry = entries[annotation["image_id"]]
        hw = entry["height"], entry["width"]
        mask = drawn(checked_segmentation(annotation["segmentation"], hw), hw)
        if mask.any():
            truth = Truth(annotation["id"], entry["id"], images / entry["file_name"],
                          np.ascontiguousarray(mask), float(annotation["area"]))  # fmt: skip
            by_size[size_of(truth.area)].append(truth)
    rng = np.random.default_rng(seed)
    chosen = []
    for found in by_size.values():
        order = rng.permutation(len(found))[:most]
        chosen += [found[i] for i in order]
    return sorted(chosen, key=lambda truth: (truth.image_id, truth.id))


def guided_filter(crop: Crop) -> np.ndarray:
    """The given mask, smoothed as the grey photo is (He, Sun, Tang, 2010)."""
    guide = cv2.cvtColor(crop.image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    mask = crop.soft.astype(np.float32) / 255

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (2 * _RADIUS + 1, 2 * _RADIUS + 1))

    mean_guide, mean_mask = mean(guide), mean(mask)
    slope = (mean(guide * mask) - mean_guide * mean_mask) / (
        mean(guide * guide) - mean_guide**2 + _EPSILON
    )
    return mean(slope) * guide + mean(mean_mask - slope * mean_guide)


def grab_cut(crop: Crop) -> np.ndarray:
    """Sure far from the given outline, open near it (Rother et al., 2004); five iterations."""
    given = (crop.soft >= 128).astype(np.uint8)
    side = 2 * max(round(_OPEN_BAND * max(crop.inside_hw)), 1) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    inner, outer = cv2.erode(given, disc), cv2.dilate(given, disc)
    states = np.where(given > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    states[inner > 0], states[outer == 0] = cv2.GC_FGD, cv2.GC_BGD
    foreground = np.isin(states, (cv2.GC_FGD, cv2.GC_PR_FGD))
    # Its two models of colours need pixels each.
    if foreground.sum() < 10 or (~foreground).sum() < 10:
        return given.astype(np.float32)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(crop.image[..., ::-1])
    cv2.setRNGSeed(0)
    cv2.grabCut(bgr, states, None, *models, 5, cv2.GC_INIT_WITH_MASK)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return np.isin(states, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)


_COMPARED = MappingProxyType({"guided filter": guided_filter, "GrabCut": grab_cut})


def judged(
    refiner: MaskRefiner,
    objects: list[Truth],
    seed: int,
    keep_below: float,
    others: Mapping[str, Callable[[Crop], np.ndarray]],
) -> Iterator[Case]:
    """Every object in every kind.

    Args: refiner, which leaves no mask alone. keep_below, the rule by which "refined" does. others,
      what a refiner is compared with, of `_COMPARED`.
    """
    for truth in watched(objects, "judging", unit="object"):
        pixels = read_image(truth.file)
        crops = []
        for number, kind in enumerate(KINDS):
            rng = np.random.default_rng([seed, truth.id % 2**64, number])
            worse = np.ascontiguousarray(degrade(truth.mask, kind, rng))
            crops.append(refiner.crop(pixels, worse, f"object {truth.id}"))
        for kind, crop, done in zip(KINDS, crops, refiner.refine_crops(crops), strict=True):
            masks = {"given": done.given, "without the rule": done.mask}
            for name, method in others.items():
                masks[name] = change_by(crop, method(crop), sure=0.5)
            ious = {name: _ious(mask, crop, truth.mask) for name, mask in masks.items()}
            # As of the canvas, which the rule's threshold is of.
            error = done.error * max(crop.inside_hw) / max(crop.given.shape)
            ious["refined"] = ious["given" if error < keep_below else "without the rule"]
            yield Case(truth.id, truth.image_id, kind, size_of(truth.area), error, ious)


def _ious(mask: np.ndarray, crop: Crop, truth: np.ndarray) -> list[float]:
    whole = _whole(mask, crop, truth.shape)
    return [boundary_iou(whole, truth, band) for band in BANDS]


def _whole(mask: np.ndarray, crop: Crop, hw: tuple[int, ...]) -> np.ndarray:
    x0, y0, x1, y1 = crop.window
    whole = np.zeros(hw, bool)
    whole[y0:y1, x0:x1] = mask
    return whole


def gains(cases: list[Case], method: str, band: int) -> tuple[Interval, Interval]:
    """The mean gain in points, and the share of what is missing that is removed."""
    images = np.asarray([case.image_id for case in cases])
    given, now = (np.asarray([c.ious[m][band] for c in cases]) for m in ("given", method))
    points = paired_ratio(100 * (now - given), np.ones(len(cases)), images)
    return points, paired_ratio(now - given, 1 - given, images)


def gain_in_words(cases: list[Case], method: str, band: int) -> str:
    """The mean gain in points, of those that the method was tried on."""
    own = [case for case in cases if method in case.ious]
    return f"{gains(own, method, band)[0].value:+.1f}" if own else "-"


def rule_for_true_masks(cases: list[Case]) -> float:
    """The distance in pixels of the canvas below which the errors of 19 of 20 true masks are."""
    return float(np.quantile([case.error for case in cases if case.kind == "true"], 0.95))


def table(cases: list[Case], size: str, band: int, keep_below: float) -> list[str]:
    """Rows of Markdown, one a kind."""
    lines = [
        f"\n{size} objects, band {100 * BANDS[band]:g} % of the diagonal\n",
        "| given mask | n | Boundary IoU | left alone | gain of refine, points | share removed "
        "| without the rule | guided filter | GrabCut |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in (*KINDS, "all but true"):
        kinds = (kind,) if kind in KINDS else tuple(k for k in KINDS if k != "true")
        own = [c for c in cases if c.size == size and c.kind in kinds]
        if not own:
            continue
        given = np.mean([c.ious["given"][band] for c in own])
        alone = 100 * np.mean([c.error < keep_below for c in own])
        points, share = gains(own, "refined", band)
        others = [gain_in_words(own, method, band) for method in ("without the rule", *_COMPARED)]
        removed = "-" if kind == "true" else share.text(100, " %")
        lines.append(
            f"| {kind} | {len(own)} | {100 * given:.1f} | {alone:.0f} % | {points.text()} "
            f"| {removed} | " + " | ".join(others) + " |"
        )
    return lines


def tell_tables(cases: list[Case], keep_below: float) -> None:
    """Prints a table for each size and band. An object's cases of several seeds are of one image,
    so intervals are of the mean over seeds."""
    for size in SIZES:
        for band in range(len(BANDS)):
            if any(case.size == size for case in cases):
                print("\n".join(table(cases, size, band, keep_below)), flush=True)


def read_cases(file: Path) -> list[Case]:
    """Of an earlier --output."""
    return [Case(**case) for case in json.loads(file.read_text())["cases"]]


def best_and_worst(cases: list[Case], keep_below: float) -> list[Case]:
    """The three large masks that gained most in the wider band and the two that lost most, of those
    that were not left alone; true masks and boxes are no ones."""
    open_ones = [
        case for case in cases
        if case.size == "large" and case.kind not in ("true", "box") and case.error >= keep_below
    ]  # fmt: skip
    order = sorted(open_ones, key=lambda case: case.ious["given"][0] - case.ious["refined"][0])
    return [*order[:3], *order[3:][-2:]]


def draw(refiner: MaskRefiner, objects: list[Truth], cases: list[Case], seed: int, folder: Path):
    """Photo, given mask, refined mask and truth of each case, side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    by_id = {truth.id: truth for truth in objects}
    for place, case in enumerate(cases):
        truth, kind = by_id[case.id], KINDS.index(case.kind)
        pixels = read_image(truth.file)
        rng = np.random.default_rng([seed, truth.id % 2**64, kind])
        worse = np.ascontiguousarray(degrade(truth.mask, case.kind, rng))
        (done,) = refiner.refine_crops([refiner.crop(pixels, worse, "the object")])
        x0, y0, x1, y1 = done.window
        photo = np.ascontiguousarray(pixels[y0:y1, x0:x1])
        masks = done.given, done.mask, truth.mask[y0:y1, x0:x1]
        drawn_masks = [overlay_masks(photo, None, [np.ascontiguousarray(m)], [""], None)
                       for m in masks]  # fmt: skip
        name = f"{place + 1}_{case.kind.replace(' ', '_')}_{case.id}.png"
        save_picture(folder / name, np.concatenate([photo, *drawn_masks], axis=1))
        print(f"{name}: {case.ious}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--most", type=int, default=10**9, help="objects of each size")
    parser.add_argument("--seed", type=int, default=0, help="of the objects and of what is lost")
    parser.add_argument("--keep-below", type=float, help="another rule than the run's own")
    parser.add_argument("--refine-only", action="store_true", help="without the other methods")
    parser.add_argument("--also", type=Path, nargs="+", default=(), help="outputs of other seeds")
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    keep_below = args.keep_below
    if keep_below is None:
        keep_below = float(load_refiner(args.checkpoint).config.model.refine.keep_below)
    refiner = load_refiner(args.checkpoint, {"model.refine.keep_below": 0.0})
    objects = truths(args.images, args.annotations, args.most, args.seed)
    others = {} if args.refine_only else _COMPARED
    cases = list(judged(refiner, objects, args.seed, keep_below, others))
    tell_tables(cases, keep_below)
    rule = rule_for_true_masks(cases)
    print(f"\nthe rule is {keep_below:g} px; {rule:.2f} px leave 19 of 20 true masks alone")
    device = jax.devices()[0].device_kind
    write_json(args.output, {"device": device, "cases": [case._asdict() for case in cases]})
    if args.also:
        print(f"\nwith those of {len(args.also)} more")
        tell_tables(
            [*cases, *(case for file in args.also for case in read_cases(file))], keep_below
        )
    if args.pictures:
        # None of them was left alone, so this refiner, which leaves none, gives the same.
        draw(refiner, objects, best_and_worst(cases, keep_below), args.seed, args.pictures)


if __name__ == "__main__":
    with_clear_errors(main)
