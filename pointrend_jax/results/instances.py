"""What a prediction gives: the instances of one image, with masks that are drawn when asked for.

A mask is kept as the network's logits in the frame of its box, so a result costs what its boxes
cost, not what the image does, and can be drawn at the image's size or at any other. numpy only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int

from pointrend_jax.masks.paste import (
    paste_mask,
    paste_masks_to_rle,
    probability,
    resample_to_window,
)
from pointrend_jax.masks.rle import Rle

# What chooses instances: 3, -1, 2:5, np.array([4, 0]), scores > 0.7.
Index = Any


@dataclass(frozen=True, eq=False, repr=False)
class PredictedMasks:
    """The masks of n instances of one image, drawn on demand.

    Nothing is computed before a method asks for it, and nothing is kept: call a method once and
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
      masks.boolean()                    # bool [n, H, W]
      masks.boolean(0)                   # bool [H, W], the best instance only
      masks[:3].probabilities()          # float32 [3, H, W]
      masks.probabilities((1200, 1600))  # the same masks on a grid of that height and width
    """

    logits: Float32[np.ndarray, "n M M"]
    boxes: Float32[np.ndarray, "n 4"]
    image_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Index) -> "PredictedMasks":
        """The masks of the chosen instances. Raises IndexError as numpy does."""
        rows = _rows(index, len(self))
        return PredictedMasks(self.logits[rows], self.boxes[rows], self.image_hw)

    def __iter__(self) -> Iterator["PredictedMasks"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        side = self.logits.shape[-1]
        return f"PredictedMasks(n={len(self)}, side={side}, image_hw={self.image_hw})"

    def rle(self) -> list[Rle]:
        """n compressed COCO RLEs of the original image's size, of the pixels of `boolean()`.

        {"size": [H, W], "counts": str}: fit for JSON and for pycocotools. No probabilities of the
        image's size are ever held, so this is the cheapest form of many or of large masks.
        """
        pairs = zip(self.logits, self.boxes, strict=True)
        # One at a time: the probabilities of all would be another copy of the logits.
        return [
            paste_masks_to_rle(probability(logits)[None], box[None], self.image_hw)[0]
            for logits, box in pairs
        ]

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
        for mask, logits, box in zip(masks, self.logits, self.boxes, strict=True):
            mask[:] = paste_mask(probability(logits), box, self.image_hw)
        return masks

    def probabilities(self, hw: tuple[int, int] | None = None) -> Float32[np.ndarray, "n h w"]:
        """The probability, in [0, 1], that a pixel belongs to the instance; 0 outside its box.

        At the original size, `probabilities() >= 0.5` is `boolean()`. At another size the same
        instances are drawn on a finer or coarser grid over the same image: pixel (y, x) is sampled
        at its centre, ((x + 0.5) / w, (y + 0.5) / h) of the image. Detail ends where a cell of
        `logits` covers a pixel. Takes 4 * n * h * w bytes; `masks[i].probabilities(hw)[0]` takes a
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


@dataclass(frozen=True, eq=False, repr=False)
class PredictedInstances:
    """The instances of one image, by descending score.

    Attributes:
      boxes: float32 [n, 4], xyxy in pixels of the original image, continuous (the centre of pixel i
        is i + 0.5), clipped to the image, never empty.
      scores: float32 [n], in (0, 1], descending.
      classes: int [n], 0..K-1: indices into the predictor's `class_names`.
      class_names: n names, one of each instance's class.
      masks: the masks of the model, drawn on demand; see `PredictedMasks`.
      coarse_masks: the masks that rendering started from, of the same kind; those of a model that
        renders nothing equal `masks`.

    Indexing chooses instances, as an array's first axis does; a single index leaves n = 1, and
    iteration gives one instance at a time. An image without instances gives n = 0: boxes of shape
    (0, 4), boolean masks of shape (0, H, W).

    Example:
      sure = instances[instances.scores > 0.7]
      people = instances[[name == "person" for name in instances.class_names]]
      for instance in instances[:5]:
          print(instance.class_names[0], instance.scores[0], instance.masks.boolean(0).sum())
    """

    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]
    class_names: tuple[str, ...]
    masks: PredictedMasks
    coarse_masks: PredictedMasks

    @property
    def image_hw(self) -> tuple[int, int]:
        """(height, width) of the original image in pixels."""
        return self.masks.image_hw

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Index) -> "PredictedInstances":
        """The chosen instances, in the order that is asked for.

        Args:
          index: an int, a slice, ints, or n booleans.
        Raises: IndexError as numpy does.
        """
        rows = _rows(index, len(self))
        return PredictedInstances(
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            classes=self.classes[rows],
            class_names=tuple(self.class_names[i] for i in np.arange(len(self))[rows]),
            masks=self.masks[rows],
            coarse_masks=self.coarse_masks[rows],
        )

    def __iter__(self) -> Iterator["PredictedInstances"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        found = ", ".join(
            f"{name} {score:.2f}" for name, score in zip(self.class_names, self.scores, strict=True)
        )
        return f"PredictedInstances(n={len(self)}, image_hw={self.image_hw}: {found or 'none'})"


class ExplainedStep(NamedTuple):
    """One rendering step of one instance, in the frame of its box.

    mask_probs [S, S] after the step; uncertainty [S, S] and point_coords [P, 2] in [0, 1], by which
    and where the step predicted.
    """

    mask_probs: np.ndarray
    uncertainty: np.ndarray
    point_coords: np.ndarray


class ExplainedInstance(NamedTuple):
    """coarse_probs [m, m] and the steps from the regular grid to the full resolution."""

    coarse_probs: np.ndarray
    steps: list[ExplainedStep]


def _rows(index: Index, length: int) -> slice | np.ndarray:
    """`index` as what keeps the first axis; a slice, and so a view, wherever it can be."""
    if isinstance(index, slice):
        return index
    rows = np.arange(length)[index]
    if np.ndim(rows) == 0:
        return slice(int(rows), int(rows) + 1)
    if rows.ndim > 1:
        raise IndexError(f"instances have one axis; index it with ints or booleans, not {index!r}.")
    return rows
