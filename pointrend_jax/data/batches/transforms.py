"""Geometry between an original image and the network's input: resize, flip, canvas.

The order and the rounding are Detectron2's (ResizeShortestEdge, then RandomFlip): polygons are
transformed as polygons and rasterised at network resolution, bitmaps are resized by nearest
neighbour, boxes follow the box of the file, not the mask.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Num, UInt8
from PIL import Image

from pointrend_jax.masks.bits import pack_mask, resize_mask
from pointrend_jax.masks.polygons import (
    Segmentation,
    rasterize_polygons,
)
from pointrend_jax.masks.runs import decode_rle

# A canvas: (height, width) in pixels.
Bucket = tuple[int, int]
# The coarsest stride of the network sees whole cells only (Detectron2's size_divisibility).
SIZE_DIVISIBILITY = 32
# Detectron2's filter_empty_instances: boxes thinner than this are dropped.
_EMPTY_BOX = 1e-5


class ImageObjects(NamedTuple):
    """The objects of one original image.

    Attributes:
      boxes: float [N, 4], xyxy in pixels.
      labels: int [N], classes 0..K-1.
      segmentations: N polygon lists or compressed RLEs.
      points: N arrays [n, 3] of labelled points: x, y and label 1, 0 or -1.
    """

    boxes: np.ndarray
    labels: np.ndarray
    segmentations: Sequence[Segmentation]
    points: Sequence[np.ndarray] = ()


def resized_hw(hw: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    """Output size of Detectron2's ResizeShortestEdge: `int(x + 0.5)`, but at least 1 pixel.

    Args:
      hw: height and width in pixels.
      min_size: length of the shorter edge; the longer one is at most `max_size`.
    """
    height, width = hw
    # The same operations in the same order as the reference, or halves round differently.
    scale = min_size * 1.0 / min(height, width)
    new_h, new_w = (min_size, scale * width) if height < width else (scale * height, min_size)
    longest = max(new_h, new_w)
    if longest > max_size:
        shrink = max_size * 1.0 / longest
        new_h, new_w = new_h * shrink, new_w * shrink
    return max(int(new_h + 0.5), 1), max(int(new_w + 0.5), 1)


def padded_hw(hw: tuple[int, int]) -> tuple[int, int]:
    """The size rounded up to `SIZE_DIVISIBILITY`: the region that the network sees."""
    height, width = (-(-side // SIZE_DIVISIBILITY) * SIZE_DIVISIBILITY for side in hw)
    return height, width


def padded_sizes(hw: Int32[np.ndarray, "B 2"]) -> Int32[np.ndarray, "B 2"]:
    """`padded_hw` of each image of a batch."""
    return -(-hw // SIZE_DIVISIBILITY) * SIZE_DIVISIBILITY


def check_buckets(buckets: Sequence[tuple[int, int]]) -> None:
    """Raises ValueError unless there are canvases and all have sides of whole cells."""
    wrong = [b for b in buckets if min(b) < 1 or any(side % SIZE_DIVISIBILITY for side in b)]
    if wrong or not buckets:
        raise ValueError(
            "config.data.buckets must be (height, width) pairs of positive multiples of "
            f"{SIZE_DIVISIBILITY}, got {tuple(buckets)}; round them up."
        )


def buckets_by_orientation(buckets: Sequence[Bucket]) -> tuple[tuple[Bucket, ...], ...]:
    """The buckets of wide images and those of tall ones; square ones are of both."""
    wide = tuple(bucket for bucket in buckets if bucket[0] <= bucket[1])
    tall = tuple(bucket for bucket in buckets if bucket[0] >= bucket[1])
    return wide, tall


def training_canvases(buckets: Sequence[Bucket]) -> tuple[Bucket, ...]:
    """The canvases of training batches: buckets, and last those that hold all of an orientation.

    What is left of an epoch's wide images shares batches, and so does what is left of tall ones.
    """
    groups = [group for group in buckets_by_orientation(buckets) if group]
    unions = [(max(h for h, _ in group), max(w for _, w in group)) for group in groups]
    return tuple(dict.fromkeys((*buckets, *unions)))


def choose_bucket(
    hw: tuple[int, int], buckets: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    """The canvas of the smallest area that holds the padded image; None if there is none."""
    height, width = padded_hw(hw)
    fitting = [b for b in buckets if b[0] >= height and b[1] >= width]
    return min(fitting, key=lambda b: (b[0] * b[1], b)) if fitting else None


def check_fit(
    sizes: Sequence[tuple[int, int]],
    min_sizes: Sequence[int],
    max_size: int,
    buckets: Sequence[tuple[int, int]],
) -> None:
    """Raises ValueError unless images of all `sizes` (height, width) fit a bucket when resized."""
    check_buckets(buckets)
    for size in sorted(set(sizes)):
        for min_size in min_sizes:
            hw = resized_hw(size, min_size, max_size)
            if choose_bucket(hw, buckets) is None:
                raise ValueError(
                    f"An image of {size[0]} x {size[1]} pixels (height x width) resized to "
                    f"{hw[0]} x {hw[1]} fits none of config.data.buckets {tuple(buckets)}; add one "
                    f"of at least {padded_hw(hw)}."
                )


def resize_image(
    image: Num[np.ndarray, "h w C"], new_hw: tuple[int, int]
) -> Num[np.ndarray, "H W C"]:
    """Bilinear with antialiasing by Pillow, as Detectron2's ResizeTransform.

    uint8 in whole numbers, a photo at once; other types as float32, channel by channel.
    """
    height, width = new_hw
    if image.shape[:2] == (height, width):
        return image
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return _resized(image, new_hw)
    resized = np.empty((height, width, image.shape[2]), image.dtype)
    for place in range(image.shape[2]):
        channel = image[..., place]
        if image.dtype == np.uint8:
            resized[..., place] = _resized(np.ascontiguousarray(channel), new_hw)
        else:
            of_floats = _resized(channel.astype(np.float32), new_hw)
            whole = image.dtype.kind == "u"
            resized[..., place] = np.rint(of_floats) if whole else of_floats
    return resized


def _resized(pixels: np.ndarray, new_hw: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((new_hw[1], new_hw[0]), Image.Resampling.BILINEAR))


def has_extent(boxes: Float32[np.ndarray, "M 4"]) -> Bool[np.ndarray, " M"]:
    """Which boxes, xyxy in pixels, have not become empty."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return (width > _EMPTY_BOX) & (height > _EMPTY_BOX)


def transform_objects(
    objects: ImageObjects, old_hw: tuple[int, int], new_hw: tuple[int, int], *, flip: bool
) -> tuple[Float32[np.ndarray, "M 4"], Int32[np.ndarray, " M"], list[np.ndarray]]:
    """Boxes, classes and bool [H, W] masks of the objects on the resized and then flipped image.

    Objects whose box or mask has become empty are left out (Detectron2's filter_empty_instances).
    """
    boxes = transform_boxes(objects.boxes, old_hw, new_hw, flip=flip).astype(np.float32)
    kept, masks = [], []
    for i in np.flatnonzero(has_extent(boxes)).tolist():
        mask = rasterize(objects.segmentations[i], old_hw, new_hw, flip=flip)
        if mask.any():
            kept.append(i)
            masks.append(mask)
    return boxes[kept], np.asarray(objects.labels, np.int32)[kept], masks


def transform_boxes(
    boxes: Float[np.ndarray, "N 4"],
    old_hw: tuple[int, int],
    new_hw: tuple[int, int],
    *,
    flip: bool,
) -> Float[np.ndarray, "N 4"]:
    """xyxy boxes in pixels of the resized image, clipped to it."""
    height, width = new_hw
    scale_x, scale_y = width * 1.0 / old_hw[1], height * 1.0 / old_hw[0]
    scaled = boxes * np.array([scale_x, scale_y, scale_x, scale_y])
    if flip:
        x0, y0, x1, y1 = scaled.T
        scaled = np.stack([width - x1, y0, width - x0, y1], axis=1)
    return np.clip(scaled, 0.0, np.array([width, height, width, height], np.float64))


def transform_polygon(
    polygon: Sequence[float], old_hw: tuple[int, int], new_hw: tuple[int, int], *, flip: bool
) -> list[float]:
    """A flat x, y list in pixels of the resized image; not clipped."""
    points = np.asarray(polygon, np.float64).reshape(-1, 2)
    points = points * np.array([new_hw[1] * 1.0 / old_hw[1], new_hw[0] * 1.0 / old_hw[0]])
    if flip:
        points[:, 0] = new_hw[1] - points[:, 0]
    return points.reshape(-1).tolist()


def rasterize(
    segmentation: Segmentation, old_hw: tuple[int, int], new_hw: tuple[int, int], *, flip: bool
) -> Bool[np.ndarray, "H W"]:
    """The mask of a stored segmentation at network resolution."""
    if isinstance(segmentation, list):
        polygons = [transform_polygon(p, old_hw, new_hw, flip=flip) for p in segmentation]
        return rasterize_polygons(polygons, new_hw)
    mask = resize_mask(decode_rle(segmentation), new_hw)
    return mask[:, ::-1] if flip else mask


def pack_masks(
    masks: Sequence[np.ndarray], slots: int, canvas_hw: tuple[int, int]
) -> UInt8[np.ndarray, "G H W8"]:
    """Bit-packed masks on the canvas, in the layout of `ObjectBatch.mask_bits`.

    Args:
      masks: at most `slots` bool [h, w]; the remaining slots are zero.
    """
    bits = np.zeros((slots, canvas_hw[0], canvas_hw[1] // 8), np.uint8)
    for slot, mask in enumerate(masks):
        bits[slot] = pack_mask(mask, canvas_hw)
    return bits


def place_image(
    image: Num[np.ndarray, "h w C"], canvas_hw: tuple[int, int]
) -> Num[np.ndarray, "H W C"]:
    """The image at the top left of a canvas of zeros."""
    canvas = np.zeros((*canvas_hw, image.shape[2]), image.dtype)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas
