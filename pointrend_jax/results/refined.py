"""Masks that were given and refined: where they are now, and where something changed."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from pointrend_jax.masks.outlines import coco_polygons, joined_parts, rings
from pointrend_jax.masks.paste import changes_of_columns
from pointrend_jax.masks.runs import Rle, decode_rle, encode_changes


class RefinedMask(NamedTuple):
    """One mask of a photo.

    Attributes:
      rle: now, compressed and fit for JSON.
      window: xyxy in whole pixels; beyond it the mask is empty.
      changed_pixels: that are another than in the given mask.
      changed_share: of the pixels of the given and the refined mask together.
      error: pixels, how far the given outline seemed to be off before.
      left_alone: whether that was too little to touch the mask.
    """

    rle: Rle
    window: tuple[int, int, int, int]
    changed_pixels: int
    changed_share: float
    error: float
    left_alone: bool

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


def refined_mask(
    given: Bool[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    window: tuple[int, int, int, int],
    image_hw: tuple[int, int],
    *,
    error: float,
    left_alone: bool,
) -> RefinedMask:
    """The result of a window of a photo.

    Args: given, mask: before and after. error: in pixels of the photo.
    """
    x0, y0, x1, y1 = window
    columns = np.zeros((x1 - x0, image_hw[0]), bool)
    columns[:, y0:y1] = mask.T
    (rle,) = encode_changes([changes_of_columns(x0, columns, image_hw)], image_hw)
    changed = int(np.count_nonzero(given != mask))
    union = int(np.count_nonzero(given | mask))
    return RefinedMask(rle, window, changed, changed / max(union, 1), error, left_alone)


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
