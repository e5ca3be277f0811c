"""Zooming into masks: rendered anew or upsampled, against the same scene drawn finer.

    python -m benchmarks.zoom --checkpoint runs/demo

    python -m benchmarks.zoom --write-label-maps data/drawn
    python train.py --data data/drawn --workdir runs/drawn --config.train.steps=400 \
        --config.train.warmup_steps=50
    python -m benchmarks.zoom --checkpoint runs/drawn

Scenes of the demonstration are drawn that no run has seen. What is found is compared with its
outline, drawn again at 8 times the resolution. Of a model of instances: the windows of a scene,
rendered by the point head; the mask of the prediction, upsampled; that of a model that stops at
56 x 56, upsampled; and the coarse mask. Of a model of label maps, class by class: the windows; the
label map, upsampled with smooth and with square outlines; and the coarse label map. The boundary
is the band of some width along an outline, in pixels of the image.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import pointrend_jax
from pointrend_jax.data.sources.embedded import (
    EVALUATION_PHOTOS,
    TRAINING_PHOTOS,
    DrawnObject,
    draw_scene,
)
from pointrend_jax.data.sources.embedded_shapes import CATEGORIES, cover_pixels
from pointrend_jax.masks.boundary import mask_boundary
from pointrend_jax.predict.scene import Window

ZOOM, TILE = 8, 512
WIDTHS = (0.5, 1.0, 2.0)  # px of the image
WRITTEN = {"train": 520, "val": 60}  # scenes of a set of label maps, as many as the demo's
# The first number of a scene's seed; those of a written set differ from those that are compared.
UNSEEN, _SETS = 9000, {"train": 9001, "val": 9002}
# A truth and one mask of each name.
Compared = tuple[np.ndarray, dict[str, np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint")
    parser.add_argument("--write-label-maps", type=Path, metavar="FOLDER")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--side", type=int, default=192, help="of the images, in pixels")
    args = parser.parse_args()
    if (args.checkpoint is None) == (args.write_label_maps is None):
        parser.error("give either --checkpoint or --write-label-maps.")
    if args.write_label_maps:
        _write_label_maps(args.write_label_maps, args.side)
        return
    seconds: list[float] = []
    predictor = pointrend_jax.load(args.checkpoint)
    if isinstance(predictor, pointrend_jax.SemanticPredictor):
        compared, of = _label_maps(predictor, args.scenes, args.side, seconds), "classes"
    else:
        compared, of = _objects(args.checkpoint, args.scenes, args.side, seconds), "objects"
    scores: dict[str, list[list[float]]] = {}
    for truth, masks in compared:
        for name, mask in masks.items():
            row = [iou(truth, mask), *(boundary_iou(truth, mask, w * ZOOM) for w in WIDTHS)]
            scores.setdefault(name, []).append(row)
    number = len(scores.get("rendered", ()))
    print(f"{number} {of} of {args.scenes} scenes of {args.side} px, at {ZOOM}x")
    print("| mask | IoU | " + " | ".join(f"Boundary IoU, {w} px" for w in WIDTHS) + " |")
    print("|---|" + "---|" * (1 + len(WIDTHS)))
    for name, rows in scores.items():
        print(f"| {name} | " + " | ".join(f"{x:.3f}" for x in np.mean(rows, axis=0)) + " |")
    wins = np.mean(np.array(scores["rendered"]) > np.array(scores["upsampled"]), axis=0)
    print(f"{of} whose rendered mask is the better one: " + ", ".join(f"{x:.0%}" for x in wins))
    print(f"a window of {TILE}x{TILE}: median {1000 * np.median(seconds):.0f} ms")


def _objects(checkpoint: str, scenes: int, side: int, seconds: list[float]) -> Iterator[Compared]:
    """Each object that is found, with an IoU of at least 0.5."""
    predictor = _load(checkpoint, {})
    # The same arrays: 7 x 7 cells, doubled three times.
    short = _load(checkpoint, {"model.mask.subdivision_steps": 3})
    hw = (ZOOM * side, ZOOM * side)
    for i in range(scenes):
        image, objects = drawn_scene(UNSEEN, i, side)
        scene, shorter = predictor.scene(image, score_threshold=0.5), short(image)
        truths = _fine_truths(objects, side)
        for k, instance in enumerate(scene.instances):
            upsampled = instance.masks.probabilities(hw)[0] >= 0.5
            truth = max(truths, key=lambda truth: iou(truth, upsampled))
            if iou(truth, upsampled) < 0.5:
                continue
            box, render = scene.instances.boxes[k], _window_of(scene, k)
            yield (
                truth,
                {
                    "rendered": _tiles(render, side, box, seconds) >= 0.5,
                    "upsampled": upsampled,
                    "upsampled from 56x56": shorter.masks[k].probabilities(hw)[0] >= 0.5,
                    "coarse, upsampled": instance.coarse_masks.probabilities(hw)[0] >= 0.5,
                },
            )


def _label_maps(
    predictor: pointrend_jax.SemanticPredictor, scenes: int, side: int, seconds: list[float]
) -> Iterator[Compared]:
    """Each class of objects of a scene that is found, with an IoU of at least 0.5."""
    for i in range(scenes):
        image, objects = drawn_scene(UNSEEN, i, side)
        scene = predictor.scene(image)
        truth = np.zeros((ZOOM * side, ZOOM * side), np.uint8)
        for item, mask in zip(objects, _fine_truths(objects, side)[::-1], strict=True):
            truth[mask] = item.category_id
        maps = {
            "rendered": _tiles(_window_of(scene), side, np.asarray([0, 0, side, side]), seconds),
            "upsampled": _smooth(scene.labels.labels),
            "square pixels": scene.labels.labels.repeat(ZOOM, 0).repeat(ZOOM, 1),
            "coarse, upsampled": _smooth(scene.labels.coarse_labels),
        }
        for label in sorted({item.category_id for item in objects}):
            masks = {name: found == label for name, found in maps.items()}
            if iou(truth == label, masks["upsampled"]) >= 0.5:
                yield truth == label, masks


def _smooth(labels: np.ndarray) -> np.ndarray:
    """A label map at the finer resolution, the best of its classes' bilinear shares."""
    shares = [
        cv2.resize((labels == label).astype(np.float32), None, fx=ZOOM, fy=ZOOM)
        for label in range(len(CATEGORIES) + 1)
    ]
    return np.argmax(shares, axis=0).astype(np.uint8)


def _write_label_maps(folder: Path, side: int) -> None:
    """Drawn scenes with their label maps, in the layout of CamVid; 0 is the ground."""
    classes = [{"id": k, "name": name} for k, name in enumerate(("ground", *CATEGORIES))]
    folder.mkdir(parents=True)
    (folder / "classes.json").write_text(json.dumps({"classes": classes, "void": 255}))
    for split, number in WRITTEN.items():
        (folder / split).mkdir()
        lines = []
        for i in range(number):
            image, objects = drawn_scene(_SETS[split], i, side)
            labels = true_labels(objects, side)
            files = f"{split}/{i:06d}.jpg", f"{split}/{i:06d}.png"
            Image.fromarray(image).save(folder / files[0], quality=95)
            Image.fromarray(labels).save(folder / files[1])
            lines.append(" ".join(files))
        (folder / f"{split}.txt").write_text("\n".join(lines))


def drawn_scene(seed: int, number: int, side: int) -> tuple[np.ndarray, list[DrawnObject]]:
    """Pixels in RGB order, and the objects from back to front; photos by what they are for."""
    rng = np.random.default_rng([seed, number])
    photos = TRAINING_PHOTOS if seed == _SETS["train"] else EVALUATION_PHOTOS
    pixels, objects = draw_scene(rng, side, 3, number % len(CATEGORIES), photos=photos)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), objects


def true_labels(objects: list[DrawnObject], side: int) -> np.ndarray:
    """The label map of a scene; 0 is the ground."""
    labels = np.zeros((side, side), np.uint8)
    for item in objects:
        labels[item.visible] = item.category_id
    return labels


def _load(checkpoint: str, changes: dict[str, float]) -> pointrend_jax.Predictor:
    predictor = pointrend_jax.load(checkpoint, changes)
    if not isinstance(predictor, pointrend_jax.Predictor):
        raise ValueError("the drawn scenes have instances; give a model of these.")
    return predictor


def _fine_truths(objects: list[DrawnObject], side: int) -> list[np.ndarray]:
    """What is seen of each object, from its outline at the finer resolution; front to back."""
    masks = [cover_pixels([r * ZOOM for r in o.rings], side * ZOOM)[0] >= 0.5 for o in objects]
    covered, truths = np.zeros_like(masks[0]), []
    for mask in reversed(masks):
        truths.append(mask & ~covered)
        covered |= mask
    return truths


def _window_of(
    scene: pointrend_jax.Scene | pointrend_jax.LabelScene, *index: int
) -> Callable[[Window], np.ndarray]:
    return lambda window: scene.render(*index, window=window, size=(TILE, TILE))


def _tiles(
    render: Callable[[Window], np.ndarray],
    side: int,
    box: np.ndarray,
    seconds: list[float],
) -> np.ndarray:
    """What a box of the image holds at the finer resolution, window by window; 0 around it."""
    whole = None
    x0, y0, x1, y1 = (int(v) for v in ZOOM * box)
    for y in range(y0, min(y1 + 1, ZOOM * side), TILE):
        for x in range(x0, min(x1 + 1, ZOOM * side), TILE):
            start = time.monotonic()
            tile = render((x / ZOOM, y / ZOOM, (x + TILE) / ZOOM, (y + TILE) / ZOOM))
            seconds.append(time.monotonic() - start)
            whole = np.zeros((ZOOM * side, ZOOM * side), tile.dtype) if whole is None else whole
            part = whole[y : y + TILE, x : x + TILE]
            part[:] = tile[: part.shape[0], : part.shape[1]]
    assert whole is not None
    return whole


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def boundary_iou(a: np.ndarray, b: np.ndarray, width: float) -> float:
    """Of the bands of two masks within `width` pixels of their outlines."""
    dilation = width / float(np.hypot(*a.shape))
    return iou(mask_boundary(a, dilation), mask_boundary(b, dilation))


if __name__ == "__main__":
    main()
