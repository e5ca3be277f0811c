"""What is drawn of a mask: its outline as rings of points, so that any scale and format has it."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from pointrend_jax.masks.outlines import Part, area, rings
from pointrend_jax.masks.runs import decode_rle

# The parts of a mask, each its outline and the holes in it: [P, 2], (x, y) in pixels of the image.
Shape = Sequence[Part]
# bool [H, W]; a compressed COCO RLE, which is decoded when its turn comes; or the shape itself.
Mask = np.ndarray | Mapping[str, Any] | Shape

# Pixels. Pixels' stairs become a line by this blur, and parts one pixel thin keep their weight.
_BLUR = 0.7
_TOLERANCE = 0.05


def shape_of(mask: Mask, image_hw: tuple[int, int]) -> Shape:
    """The rings of a mask. Those of pixels are blurred a little, so that they have no stairs."""
    if not isinstance(mask, np.ndarray | Mapping):
        return mask
    bits = decode_rle(mask) if isinstance(mask, Mapping) else mask
    bits = np.ascontiguousarray(bits).view(np.uint8)
    x, y, width, height = cv2.boundingRect(bits)
    if not width:
        return []
    left, top = max(x - 2, 0), max(y - 2, 0)
    window = bits[top : y + height + 2, left : x + width + 2].astype(np.float32)
    blurred = cv2.GaussianBlur(window, (0, 0), _BLUR, borderType=cv2.BORDER_REPLICATE)
    found = rings(np.asarray(blurred), (left, top), image_hw, tolerance=_TOLERANCE)
    # A blur leaves nothing of a lone pixel.
    return found or rings(window, (left, top), image_hw, tolerance=_TOLERANCE)


def shape_area(shape: Shape) -> float:
    """Square pixels."""
    return sum(map(area, shape))


def scaled_rings(shape: Shape, scale: float) -> list[np.ndarray]:
    """All rings of a shape, in pixels of a picture at so many times the image's size."""
    return [ring * scale for part in shape for ring in part]
