"""The host side (pasting, RLE, resizing, ground-truth masks) against Detectron2's numbers.

As `tests/parity/ops.py`, but on numpy arrays and, for two files, on the kit's photos.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pointrend_jax.evaluation import paste, rle
from tests.parity.compare import Check


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file.items())


def _size(hw: np.ndarray) -> tuple[int, int]:
    height, width = (int(n) for n in hw)
    return height, width


def _upsampled(logits: np.ndarray, side: int) -> np.ndarray:
    """Half-pixel bilinear resize, as the kit made its 224 x 224 masks."""
    position = np.clip((np.arange(side) + 0.5) * logits.shape[-1] / side - 0.5, 0, None)
    low = np.minimum(position.astype(int), logits.shape[-1] - 1)
    high, weight = np.minimum(low + 1, logits.shape[-1] - 1), position - low
    columns = logits[..., low] * (1 - weight) + logits[..., high] * weight
    weight = weight[:, None]
    return columns[..., low, :] * (1 - weight) + columns[..., high, :] * weight


def paste_masks(path: Path) -> Iterator[Check]:
    g = _load(path)
    image_hw = _size(g["image_hw"])
    logits = _upsampled(g["low_logits7"].astype(np.float64), 224)
    fine = (1 / (1 + np.exp(-logits))).astype(np.float32)
    for name, probs in (("28", g["prob28"]), ("224", fine)):
        pasted = [paste.paste_mask(m, b, image_hw) for m, b in zip(probs, g["boxes"], strict=True)]
        yield Check(f"pasted {name}", np.stack(pasted), g[f"pasted{name}"])
        rles = paste.paste_masks_to_rle(probs, g["boxes"], image_hw)
        same = np.array([r["counts"] for r in rles]) == g[f"rle{name}"]
        yield Check(f"RLE {name}", same, np.ones_like(same))
    soft = np.zeros((len(g["boxes"]), *image_hw), np.float32)
    for i, (probs, box) in enumerate(zip(g["prob28"], g["boxes"], strict=True)):
        window, (x0, y0) = paste.resample_to_window(probs, box, image_hw)
        soft[i, y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]] = window
    yield Check("soft 28", soft, g["soft28"])
    yield Check("uint8 28", (soft * np.float32(255)).astype(np.uint8), g["uint8_28"])


def detector_postprocess(path: Path) -> Iterator[Check]:
    g = _load(path)
    out_hw = _size(g["out_hw"])
    boxes, kept = paste.scale_boxes_to_original(g["in_boxes"], _size(g["in_hw"]), out_hw)
    yield Check("boxes", boxes, g["out_boxes"])
    yield Check("kept", np.flatnonzero(kept), g["out_classes"])
    masks = [
        paste.paste_mask(m[0], b, out_hw) for m, b in zip(g["in_masks"][kept], boxes, strict=True)
    ]
    yield Check("masks", np.stack(masks), g["out_masks"])


def rle_iou(path: Path) -> Iterator[Check]:
    g = _load(path)
    size = [int(n) for n in g["hw"]]
    found, truth = ([{"size": size, "counts": str(c)} for c in g[k]] for k in ("dt", "gt"))
    for name, crowd in (("iou", 0), ("iou_crowd", 1)):
        yield Check(name, rle.rle_iou(found, truth, [crowd] * len(truth)), g[name])


HOST_FILES: dict[str, Callable[[Path], Iterator[Check]]] = {
    "detector_postprocess": detector_postprocess,
    "paste_masks": paste_masks,
    "rle_iou": rle_iou,
}
