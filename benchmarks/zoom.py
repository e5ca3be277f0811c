"""Zooming into masks: rendered anew or upsampled, against the same scene drawn finer.

    python -m benchmarks.zoom --checkpoint runs/demo

Scenes of the demonstration are drawn that no run has seen. Every object that is found is compared
with its outline, drawn again at 8 times the resolution: the windows of a scene, rendered by the
point head; the mask of the prediction, upsampled; that of a model that stops at 56 x 56, upsampled;
and the coarse mask. The boundary is the band of some width along an outline, in pixels of the
image.
"""

import argparse
import time

import cv2
import numpy as np

import pointrend_jax
from pointrend_jax.data.sources.embedded import draw_scene
from pointrend_jax.data.sources.embedded_shapes import CATEGORIES, cover_pixels
from pointrend_jax.masks.boundary import mask_boundary

ZOOM, TILE = 8, 512
WIDTHS = (0.5, 1.0, 2.0)  # px of the image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--side", type=int, default=192, help="of the images, in pixels")
    args = parser.parse_args()
    predictor = _load(args.checkpoint, {})
    # The same arrays: 7 x 7 cells, doubled three times.
    short = _load(args.checkpoint, {"model.mask.subdivision_steps": 3})
    names = ("rendered", "upsampled", "upsampled from 56x56", "coarse, upsampled")
    scores: dict[str, list[list[float]]] = {name: [] for name in names}
    seconds: list[float] = []
    for i in range(args.scenes):
        rng = np.random.default_rng([9000, i])
        pixels, objects = draw_scene(rng, args.side, 3, i % len(CATEGORIES))
        image = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        scene, shorter = predictor.scene(image, score_threshold=0.5), short(image)
        truths = _fine_truths(objects, args.side)
        if not len(scene.instances):
            continue
        hw = (ZOOM * args.side, ZOOM * args.side)
        for k, instance in enumerate(scene.instances):
            upsampled = instance.masks.probabilities(hw)[0] >= 0.5
            truth = max(truths, key=lambda truth: _iou(truth, upsampled))
            if _iou(truth, upsampled) < 0.5:
                continue
            masks = (
                _rendered(scene, k, args.side, seconds),
                upsampled,
                shorter.masks[k].probabilities(hw)[0] >= 0.5,
                instance.coarse_masks.probabilities(hw)[0] >= 0.5,
            )
            for name, mask in zip(names, masks, strict=True):
                row = [_iou(truth, mask)]
                row += [_boundary_iou(truth, mask, width) for width in WIDTHS]
                scores[name].append(row)
    print(
        f"{len(scores['rendered'])} objects of {args.scenes} scenes of {args.side} px, at {ZOOM}x"
    )
    print("| mask | IoU | " + " | ".join(f"Boundary IoU, {w} px" for w in WIDTHS) + " |")
    print("|---|" + "---|" * (1 + len(WIDTHS)))
    for name, rows in scores.items():
        print(f"| {name} | " + " | ".join(f"{x:.3f}" for x in np.mean(rows, axis=0)) + " |")
    wins = np.mean(np.array(scores["rendered"]) > np.array(scores["upsampled"]), axis=0)
    print("objects whose rendered mask is the better one: " + ", ".join(f"{x:.0%}" for x in wins))
    print(f"a window of {TILE}x{TILE}: median {1000 * np.median(seconds):.0f} ms")


def _load(checkpoint: str, changes: dict[str, float]) -> pointrend_jax.Predictor:
    predictor = pointrend_jax.load(checkpoint, changes)
    if not isinstance(predictor, pointrend_jax.Predictor):
        raise ValueError("the drawn scenes have instances; give a model of these.")
    return predictor


def _fine_truths(objects: list, side: int) -> list[np.ndarray]:
    """What is seen of each object, from its outline at the finer resolution."""
    masks = [cover_pixels([r * ZOOM for r in o.rings], side * ZOOM)[0] >= 0.5 for o in objects]
    covered, truths = np.zeros_like(masks[0]), []
    for mask in reversed(masks):
        truths.append(mask & ~covered)
        covered |= mask
    return truths


def _rendered(
    scene: pointrend_jax.Scene, index: int, side: int, seconds: list[float]
) -> np.ndarray:
    """The mask at the finer resolution, window by window."""
    whole = np.zeros((ZOOM * side, ZOOM * side), bool)
    x0, y0, x1, y1 = (int(v) for v in ZOOM * scene.instances.boxes[index])
    for y in range(y0, y1 + 1, TILE):
        for x in range(x0, x1 + 1, TILE):
            window = (x / ZOOM, y / ZOOM, (x + TILE) / ZOOM, (y + TILE) / ZOOM)
            start = time.monotonic()
            tile = scene.render(index, window=window, size=(TILE, TILE)) >= 0.5
            seconds.append(time.monotonic() - start)
            part = whole[y : y + TILE, x : x + TILE]
            part[:] = tile[: part.shape[0], : part.shape[1]]
    return whole


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def _boundary_iou(a: np.ndarray, b: np.ndarray, width: float) -> float:
    dilation = width * ZOOM / float(np.hypot(*a.shape))
    return _iou(mask_boundary(a, dilation), mask_boundary(b, dilation))


if __name__ == "__main__":
    main()
