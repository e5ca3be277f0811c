"""The host side (pasting, RLE, resizing, ground-truth masks) against Detectron2's numbers.

As `parity/ops.py`, but on numpy arrays and, for three files, with the kit's photos
and annotations.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from parity.compare import Check, kit_file
from parity.kit import load_golden
from pointrend_jax.data.batches import color_augmentation, transforms
from pointrend_jax.data.images import read_image
from pointrend_jax.data.sources.coco import read_coco
from pointrend_jax.masks import paste, rle, runs
from pointrend_jax.masks.bits import resize_mask
from pointrend_jax.masks.polygons import rasterize_polygons
from pointrend_jax.ops.masks import crop_masks
from pointrend_jax.ops.points import point_sample_bits, points_in_image


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
    g = load_golden(path)
    image_hw = _size(g["image_hw"])
    logits = _upsampled(g["low_logits7"].astype(np.float64), 224)
    fine = (1 / (1 + np.exp(-logits))).astype(np.float32)
    for name, probs in (("28", g["prob28"]), ("224", fine)):
        pasted = [paste.paste_mask(m, b, image_hw) for m, b in zip(probs, g["boxes"], strict=True)]
        yield Check(f"pasted {name}", np.stack(pasted), g[f"pasted{name}"])
        changes = [
            paste.changes_of_mask(m, b, image_hw) for m, b in zip(probs, g["boxes"], strict=True)
        ]
        rles = runs.encode_changes(changes, image_hw)
        same = np.array([r["counts"] for r in rles]) == g[f"rle{name}"]
        yield Check(f"RLE {name}", same, np.ones_like(same))
    soft = np.zeros((len(g["boxes"]), *image_hw), np.float32)
    for i, (probs, box) in enumerate(zip(g["prob28"], g["boxes"], strict=True)):
        window, (x0, y0) = paste.resample_to_window(probs, box, image_hw)
        soft[i, y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]] = window
    yield Check("soft 28", soft, g["soft28"])
    yield Check("uint8 28", (soft * np.float32(255)).astype(np.uint8), g["uint8_28"])


def detector_postprocess(path: Path) -> Iterator[Check]:
    g = load_golden(path)
    out_hw = _size(g["out_hw"])
    boxes, kept = paste.scale_boxes_to_original(g["in_boxes"], _size(g["in_hw"]), out_hw)
    yield Check("boxes", boxes, g["out_boxes"])
    yield Check("kept", np.flatnonzero(kept), g["out_classes"])
    masks = [
        paste.paste_mask(m[0], b, out_hw) for m, b in zip(g["in_masks"][kept], boxes, strict=True)
    ]
    yield Check("masks", np.stack(masks), g["out_masks"])


def rle_iou(path: Path) -> Iterator[Check]:
    g = load_golden(path)
    size = [int(n) for n in g["hw"]]
    found, truth = ([{"size": size, "counts": str(c)} for c in g[k]] for k in ("dt", "gt"))
    for name, crowd in (("iou", 0), ("iou_crowd", 1)):
        yield Check(name, rle.rle_iou(found, truth, [crowd] * len(truth)), g[name])


def resize(path: Path) -> Iterator[Check]:
    g = load_golden(path)
    cases = g["sizes"][:, :4].tolist()
    sizes = [transforms.resized_hw((h, w), short, long) for h, w, short, long in cases]
    yield Check("sizes", sizes, g["sizes"][:, 4:])
    for key in (k for k in g if k.startswith("decoded_crc_")):
        image_id = int(key.rsplit("_", 1)[1])
        yield from _resized_photo(g, image_id, _of_images(path, f"{image_id:012d}.jpg"))
    old_hw, new_hw = _size(np.array(g["seg_in"].shape)), _size(np.array(g["seg_out"].shape))
    labels = np.zeros(new_hw, np.uint8)
    for label in np.unique(g["seg_in"]):
        labels[resize_mask(g["seg_in"] == label, new_hw)] = label
    yield Check("segmentation", labels, g["seg_out"])
    scaled = transforms.transform_boxes(g["box_in"], old_hw, new_hw, flip=False)
    yield Check("box", scaled, g["box_out"])
    flipped = transforms.transform_boxes(g["box_in"], old_hw, old_hw, flip=True)
    yield Check("flipped box", flipped, g["hflip_box"])


def _of_images(path: Path, name: str) -> Path:
    """A file of images/ in the kit that the file of ops/ is of."""
    return kit_file(path.parent.parent, f"images/{name}")


def _resized_photo(g: dict[str, np.ndarray], image_id: int, photo: Path) -> Iterator[Check]:
    image = read_image(photo)
    bgr = np.ascontiguousarray(image[..., ::-1])
    yield Check(f"{image_id} crc decoded", _crc(bgr), g[f"decoded_crc_{image_id}"])
    hw = (image.shape[0], image.shape[1])
    for short in (160, 800):
        resized = transforms.resize_image(image, transforms.resized_hw(hw, short, 1333))
        bgr = np.ascontiguousarray(resized[..., ::-1])
        if short == 160:
            yield Check(f"{image_id} pixels 160", bgr, g[f"short160_{image_id}"])
            continue
        yield Check(f"{image_id} shape 800", bgr.shape, g[f"short800_shape_{image_id}"])
        yield Check(f"{image_id} pixels 800", bgr[::16, ::16], g[f"short800_every16_{image_id}"])
        yield Check(f"{image_id} crc 800", _crc(bgr), g[f"short800_crc_{image_id}"])


def _crc(pixels: np.ndarray) -> int:
    return zlib.crc32(pixels.tobytes())


def crowd_rle(path: Path) -> Iterator[Check]:
    """The stored area and box are of the mask; those of the annotation file are others."""
    g = load_golden(path)
    file = _of_images(path, "annotations.json")
    dataset = read_coco(file, file.parent)
    objects = {o.id: o for image in dataset.images for o in image.objects}
    crowds: list[Any] = [objects[i].segmentation for i in g["ann_id"].tolist()]
    yield Check("size", [c["size"] for c in crowds], g["hw"])
    same = np.array([c["counts"] for c in crowds]) == g["counts"]
    yield Check("counts", same, np.ones_like(same))
    areas = [runs.decode_rle(c).sum() for c in crowds]
    yield Check("area", areas, g["area"])
    yield Check("box", [rle.rle_box(c) for c in crowds], g["bbox_xywh"])


def gt_masks(path: Path) -> Iterator[Check]:
    g = load_golden(path)
    content = json.loads(_of_images(path, "annotations.json").read_text())
    hw_of = {i["id"]: (i["height"], i["width"]) for i in content["images"]}
    polygons_of = {a["id"]: a["segmentation"] for a in content["annotations"]}
    polygons = [polygons_of[i] for i in g["ann_id"].tolist()]
    image_hw = [hw_of[i] for i in g["image_id"].tolist()]
    masks = [
        transforms.rasterize(p, hw, hw, flip=False)
        for p, hw in zip(polygons, image_hw, strict=True)
    ]
    rles = [rle.encode_mask(mask) for mask in masks]
    same = np.array([r["counts"] for r in rles]) == g["bitmask_rle"]
    yield Check("bitmask RLE", same, np.ones_like(same))
    yield Check("area", [mask.sum() for mask in masks], g["area"])
    xywh = np.array([rle.rle_box(r) for r in rles])
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    yield Check("tight box", xyxy, g["tight_box"])
    for name, side in (("poly28", 28), ("poly7", 7), ("poly_crop28", 28)):
        boxed = zip(polygons, g["box"], strict=True)
        yield Check(name, np.stack([rasterize_within_box(p, b, side) for p, b in boxed]), g[name])
    yield from _labels_from_bits(g, masks, image_hw)


def rasterize_within_box(
    polygons: Sequence[Sequence[float]], box: Float[np.ndarray, "4"], size: int
) -> Bool[np.ndarray, "S S"]:
    """The union of polygons in the frame of a box, `size` x `size`, without a bitmap in between.

    Detectron2 trains its mask heads on these where annotations are polygons; this project crops
    packed masks instead. Source: Detectron2 structures/masks.py rasterize_polygons_within_box.

    Args:
      box: xyxy in pixels, as the polygons; counts as at least 0.1 pixels wide and high.
    """
    scale = np.float32(size) / np.maximum(box[2:] - box[:2], np.float32(0.1))
    moved = [
        ((np.asarray(p, np.float64).reshape(-1, 2) - box[:2]) * scale).ravel() for p in polygons
    ]
    return rasterize_polygons([p.tolist() for p in moved], (size, size))


def _labels_from_bits(
    g: dict[str, np.ndarray], masks: list[np.ndarray], image_hw: list[tuple[int, int]]
) -> Iterator[Check]:
    """What the coarse and the point head are trained on, from the packed masks."""
    canvas = (640, 640)
    bits = transforms.pack_masks(masks, len(masks), canvas)
    index, boxes = np.arange(len(masks), dtype=np.int32), np.asarray(g["box"])
    for name, side in (("bit7", 7), ("bit28", 28)):
        crop = jax.jit(partial(crop_masks, output_size=side))
        yield Check(name, crop(bits, index, boxes, np.asarray(image_hw, np.int32)), g[name])
    # Detectron2 reads at the position in [-1, 1] of the image. A label changes by 1 a pixel, so the
    # rounding of that detour, 3e-5 pixels, is repeated here, operation by operation.
    in_image = np.asarray(points_in_image(jnp.asarray(boxes), jnp.asarray(g["points"])))
    image_wh = np.array(image_hw, np.float32)[:, None, ::-1]
    grid = 2 * (in_image / image_wh) - 1
    xy = (grid + 1) * image_wh / 2
    yield Check("point labels", jax.jit(point_sample_bits)(bits, index, xy), g["point_labels"])


def color_aug_ssd(path: Path) -> Iterator[Check]:
    """The kit's images are BGR, as Detectron2 changes them."""
    g = load_golden(path)
    image = np.ascontiguousarray(g["input"][..., ::-1])
    steps = {
        "brightness": color_augmentation.change_brightness,
        "contrast": color_augmentation.change_contrast,
        "saturation": color_augmentation.change_saturation,
        "hue": color_augmentation.change_hue,
    }
    for name in sorted(key.removesuffix("_value") for key in g if key.endswith("_value")):
        changed = steps[name.split("_")[0]](image, g[f"{name}_value"].item())
        yield Check(name, changed[..., ::-1], g[name])


HOST_FILES: dict[str, Callable[[Path], Iterator[Check]]] = {
    "color_aug_ssd": color_aug_ssd,
    "crowd_rle": crowd_rle,
    "detector_postprocess": detector_postprocess,
    "gt_masks": gt_masks,
    "paste_masks": paste_masks,
    "resize": resize,
    "rle_iou": rle_iou,
}
