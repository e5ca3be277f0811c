"""Masks that were given and refined: where they are now, and where something changed."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from pointrend_jax.masks.outlines import coco_polygons, joined_parts, rings
from pointrend_jax.masks.paste import changes_of_columns
from pointrend_jax.masks.rle import rle_area
from pointrend_jax.masks.runs import Rle, decode_rle, encode_changes

# xyxy in whole pixels of the photo.
Window = tuple[int, int, int, int]


class RefinedCrop(NamedTuple):
    """What became of a given mask, in a window of its photo.

    Attributes:
      window: xyxy in whole pixels.
      given, mask: bool [h, w], before and after; the same where it was left alone.
      error: pixels, how far the given outline seemed to be off.
      left_alone: because that was too little (`config.model.refine.keep_below`).
    """

    window: Window
    given: np.ndarray
    mask: np.ndarray
    error: float
    left_alone: bool


class RefinedMask(NamedTuple):
    """One mask of a photo.

    Attributes:
      rle: now, compressed and fit for JSON.
      window: xyxy in whole pixels; beyond it the mask is empty.
      changed: where the mask is another than the given one, compressed and fit for JSON.
      changed_share: of the pixels of the given and the refined mask together.
      error: pixels, how far the given outline seemed to be off before.
      left_alone: whether that was too little to touch the mask.
    """

    rle: Rle
    window: Window
    changed: Rle
    changed_share: float
    error: float
    left_alone: bool

    @property
    def changed_pixels(self) -> int:
        """How many pixels are another than in the given mask."""
        return int(rle_area(self.changed))

    def boolean(self) -> Bool[np.ndarray, "H W"]:
        """The mask, of the size of the photo."""
        return decode_rle(self.rle)

    def polygons(self) -> list[list[float]]:
        """As COCO's `segmentation` has them; holes are joined to their outline."""
        x0, y0, x1, y1 = self.window
        height, width = self.rle["size"]
        pixels = self.boolean()[y0:y1, x0:x1].astype(np.float32)
        # Lines go through the middle between a pixel and its neighbour.
        parts = rings(pixels, (x0, y0), (height, width), tolerance=0.0)
        return coco_polygons(joined_parts(parts))


class RefinedMasks(tuple[RefinedMask, ...]):
    """The masks of a photo, in the order in which they were given."""

    __slots__ = ()

    def boolean(self) -> Bool[np.ndarray, "n H W"]:
        """All masks, n times the size of the photo; none gives n = 0 and no size."""
        return np.stack([mask.boolean() for mask in self]) if self else np.zeros((0, 0, 0), bool)

    def rle(self) -> list[Rle]:
        """COCO RLEs, fit for JSON."""
        return [mask.rle for mask in self]

    @property
    def changed_share(self) -> np.ndarray:
        """float64 [n], `RefinedMask.changed_share` of each."""
        return np.asarray([mask.changed_share for mask in self], np.float64)


def refined_mask(crop: RefinedCrop, image_hw: tuple[int, int]) -> RefinedMask:
    """The result in a photo of that size."""
    x0, y0, x1, y1 = crop.window
    differs = crop.given != crop.mask
    both = []
    for pixels in (crop.mask, differs):
        columns = np.zeros((x1 - x0, image_hw[0]), bool)
        columns[:, y0:y1] = pixels.T
        both.append(changes_of_columns(x0, columns, image_hw))
    rle, changed = encode_changes(both, image_hw)
    union = int(np.count_nonzero(crop.given | crop.mask))
    share = int(np.count_nonzero(differs)) / max(union, 1)
    return RefinedMask(rle, crop.window, changed, share, crop.error, crop.left_alone)


def changes_in_words(masks: Iterable[RefinedMask]) -> str:
    """How many masks changed, and how much."""
    shares = [mask.changed_share for mask in masks]
    changed = [share for share in shares if share > 0]
    if not changed:
        return f"none of {len(shares)} masks changed"
    return (
        f"{len(changed)} of {len(shares)} masks changed, by {np.median(changed):.1%} of their "
        f"pixels in the middle and {max(changed):.1%} at most"
    )
