"""The masks of one image's instances, drawn when asked for.

A mask is kept as the network's logits in the frame of its box, so a result costs what its boxes
cost, not what the image does, and can be drawn at the image's size or at any other. Where the
device has pasted it already, the pixels at which it changes are kept beside them, and the logits
stay on the device until a method needs them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int

from pointrend_jax.masks.outlines import Part, Polygon, joined_parts, rings
from pointrend_jax.masks.paste import changes_of_mask, probability, resample_to_window
from pointrend_jax.masks.runs import Rle, draw_changes, encode_changes
from pointrend_jax.results.late_rows import LateRows

# What chooses instances: 3, -1, 2:5, np.array([4, 0]), scores > 0.7.
Index = Any


class PredictedMasks:
    """The masks of n instances of one image, drawn on demand.

    Nothing is drawn before a method asks for it, and nothing is kept: call a method once and
    keep what it returns. `masks[chosen]` are the masks of some instances, so that only those are
    drawn; a single index leaves an axis of length 1.

    Attributes:
      logits: float32 [n, M, M], in the frame of the box: row 0 is its top edge, and the centre of
        cell (y, x) lies at ((x + 0.5) / M, (y + 0.5) / M) of the box's width and height. Positive
        inside the object. M is 224 for a PointRend mask, 28 for the dense head's, 7 for the coarse
        mask that rendering starts from.
      boxes: float32 [n, 4], xyxy in pixels of the original image; the frames of the masks.
      image_hw: (height, width) of the original image in pixels.

    Example:
      masks = instances.masks
      masks.rle()                        # n compressed COCO RLEs
      masks.polygons()                   # n lists of float64 [P, 2], one for each part
      masks.boolean()                    # bool [n, H, W]
      masks.boolean(0)                   # bool [H, W], the best instance only
      masks[:3].probabilities()          # float32 [3, H, W]
      masks.probabilities((1200, 1600))  # the same masks on a grid of that height and width
    """

    def __init__(
        self,
        logits: Float32[np.ndarray, "n M M"] | LateRows,
        boxes: Float32[np.ndarray, "n 4"],
        image_hw: tuple[int, int],
        changes: Sequence[Int[np.ndarray, " _"] | None] | None = None,
    ) -> None:
        """Args: changes, of each mask, as `encode_changes` takes them, where the device has pasted
        it; None for one that the host is to paste, or for all.
        """
        self._logits, self.boxes, self.image_hw = logits, boxes, image_hw
        self._changes = [None] * len(boxes) if changes is None else list(changes)

    @property
    def logits(self) -> Float32[np.ndarray, "n M M"]:
        return self._logits.host() if isinstance(self._logits, LateRows) else self._logits

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Index) -> "PredictedMasks":
        """The masks of the chosen instances. Raises IndexError as numpy does."""
        rows = chosen_rows(index, len(self))
        changes = [self._changes[i] for i in np.arange(len(self))[rows]]
        return PredictedMasks(self._logits[rows], self.boxes[rows], self.image_hw, changes)

    def __iter__(self) -> Iterator["PredictedMasks"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        side = self._logits.shape[-1]
        return f"PredictedMasks(n={len(self)}, side={side}, image_hw={self.image_hw})"

    def rle(self) -> list[Rle]:
        """n compressed COCO RLEs of the original image's size, of the pixels of `boolean()`.

        {"size": [H, W], "counts": str}: fit for JSON and for pycocotools. No probabilities of the
        image's size are ever held, so this is the cheapest form of many or of large masks.
        """
        return encode_changes([self._changes_of(i) for i in range(len(self))], self.image_hw)

    def polygons(self, *, tolerance: float = 0.05) -> list[list[Polygon]]:
        """The outlines of each mask: a polygon for each of its parts, the largest first.

        Where the resampled probability is one half, to a fraction of a pixel: no stairs. Corners
        are float64 [P, 2], (x, y) in pixels of the original image as `boxes` are (the pixel (0, 0)
        covers [0, 1] x [0, 1]). A hole is joined to its part's outline by a slit of no width. An
        empty mask has no polygon.

        Args:
          tolerance: pixels; corners that lie this close to the line of the others are left out. 0
            keeps all, and then the pixels whose centre a polygon holds are those of `boolean()`.
        Raises: ValueError if `tolerance` is negative or not finite.
        """
        return [joined_parts(parts) for parts in self.rings(tolerance=tolerance)]

    def rings(self, *, tolerance: float = 0.05) -> list[list[Part]]:
        """As `polygons`, but with the rings of a part, its outline and its holes, one by one.

        A renderer of the even-odd or of the nonzero rule fills them without a slit.
        """
        if not 0 <= tolerance < np.inf:
            raise ValueError(f"tolerance must be at least 0 pixels, got {tolerance}.")
        found = []
        for logits, box in zip(self.logits, self.boxes, strict=True):
            window, at = resample_to_window(probability(logits), box, self.image_hw)
            found.append(rings(window, at, self.image_hw, tolerance=tolerance))
        return found

    def boolean(self, index: int | None = None) -> Bool[np.ndarray, "*instances H W"]:
        """[n, H, W] on the original image, or [H, W] of one instance.

        True where the resampled probability is at least one half; False outside the box. Takes
        n * H * W bytes: for many instances ask for one at a time, or for `rle()`.

        Args:
          index: the instance that is asked for; None for all.
        Raises: IndexError if there is no instance `index`.
        """
        if index is not None:
            return self[int(index)].boolean()[0]
        masks = np.zeros((len(self), *self.image_hw), np.bool_)
        for i, mask in enumerate(masks):
            mask[:] = draw_changes(self._changes_of(i), self.image_hw)
        return masks

    def probabilities(self, hw: tuple[int, int] | None = None) -> Float32[np.ndarray, "n h w"]:
        """The probability, in [0, 1], that a pixel belongs to the instance; 0 outside its box.

        At the original size, `probabilities() >= 0.5` is `boolean()`, but where a GPU has pasted
        and a probability is within 1e-5 of one half. At another size the same instances are drawn
        on a finer or coarser grid over the same image: pixel (y, x) is sampled at its centre,
        ((x + 0.5) / w, (y + 0.5) / h) of the image. Detail ends where a cell of `logits` covers a
        pixel. Takes 4 * n * h * w bytes; `masks[i].probabilities(hw)[0]` takes a
        single mask's.

        Args:
          hw: height and width of the grid in pixels; None for the original image's.
        Raises: ValueError if a side is less than 1.
        Source: bilinear, half-pixel centres, zeros outside, as Detectron2's layers/mask_ops.py.
        """
        height, width = self.image_hw if hw is None else hw
        if min(height, width) < 1:
            raise ValueError(f"hw must be a height and a width of at least 1 pixel, got {hw}.")
        scale_y, scale_x = height / self.image_hw[0], width / self.image_hw[1]
        boxes = self.boxes * np.asarray([scale_x, scale_y, scale_x, scale_y], np.float32)
        masks = np.zeros((len(self), height, width), np.float32)
        for mask, logits, box in zip(masks, self.logits, boxes, strict=True):
            window, (x0, y0) = resample_to_window(probability(logits), box, (height, width))
            mask[y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]] = window
        return masks

    def _changes_of(self, i: int) -> Int[np.ndarray, " _"]:
        changes = self._changes[i]
        if changes is None:
            # One at a time: the probabilities of all would be another copy of the logits.
            changes = changes_of_mask(probability(self.logits[i]), self.boxes[i], self.image_hw)
        return changes


def chosen_rows(index: Index, length: int) -> slice | np.ndarray:
    """`index` as what keeps the first axis; a slice, and so a view, wherever it can be."""
    if isinstance(index, slice):
        return index
    rows = np.arange(length)[index]
    if np.ndim(rows) == 0:
        return slice(int(rows), int(rows) + 1)
    if rows.ndim > 1:
        raise IndexError(f"instances have one axis; index it with ints or booleans, not {index!r}.")
    return rows
