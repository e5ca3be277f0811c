"""What a prediction gives: the instances of one image, as arrays, COCO records and a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from pointrend_jax.masks.rle import rle_area
from pointrend_jax.results.masks import Index, PredictedMasks, chosen_rows
from pointrend_jax.visualize import (
    DEFAULT_STYLE,
    VECTOR_FORMATS,
    OverlayStyle,
    Rgb,
    ground,
    overlay_masks,
    save_picture,
    save_vector_overlay,
)


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
      instances.save("found.png", image)
      instances.save("found.pdf", image, style=OverlayStyle(color_by="class", boxes=False))
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
        rows = chosen_rows(index, len(self))
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

    def to_coco(
        self, *, image_id: int | None = None, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """A record of each instance with COCO's fields, fit for JSON and for `COCO.loadRes`.

        `image_id`, `category_id`, `bbox` (x, y, width, height), `area` in pixels, `iscrowd` 0,
        `score`, `segmentation` as compressed RLE. An annotation of COCO needs an `id` too.

        Args:
          image_id: of the data set; None leaves the field out.
          category_ids: of each class, as `Predictor.category_ids`; None writes class indices.
        Raises: ValueError if an instance's class has no category id.
        """
        if category_ids is None:
            labels = self.classes.tolist()
        else:
            if len(self) and self.classes.max() >= len(category_ids):
                raise ValueError(
                    f"category_ids must have an id for each class, got {len(category_ids)} and an "
                    f"instance of class {self.classes.max()}; None writes class indices."
                )
            labels = [int(category_ids[label]) for label in self.classes]
        image = {} if image_id is None else {"image_id": int(image_id)}
        rows = zip(labels, self.boxes.tolist(), self.scores.tolist(), self.masks.rle(), strict=True)
        return [
            image
            | {
                "category_id": label,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": rle_area(rle),
                "iscrowd": 0,
                "score": score,
                "segmentation": rle,
            }
            for label, (x0, y0, x1, y1), score, rle in rows
        ]

    def to_supervision(self) -> Any:
        """`supervision.Detections`: boxes, boolean masks, scores, classes, and their names.

        Raises: ImportError if the package supervision is not installed.
        """
        try:
            supervision = import_module("supervision")
        except ImportError as error:
            raise ImportError(
                f"to_supervision needs the package supervision ({error}): pip install supervision"
            ) from error
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks.boolean(),
            confidence=self.scores,
            class_id=self.classes,
            data={"class_name": np.asarray(self.class_names, np.str_)},
        )

    def plot(self, image: Rgb | None = None, *, style: OverlayStyle = DEFAULT_STYLE) -> Rgb:
        """The picture that `predict` writes: translucent, outlined masks, boxes, names and scores.

        Args:
          image: the one that was predicted, uint8 [H, W, 3] in RGB order; None for a plain ground.
          style: colours, boxes, line width, scale and typeface.
        Returns: the picture, of `style.scale` times the image's size.
        Raises: ValueError if the image is of another size, or the style is out of range.
        """
        under = ground(self.image_hw) if image is None else image
        return overlay_masks(
            under, self.boxes, self.masks.rle(), self.class_names, self.scores,
            classes=self.classes, style=style,
        )  # fmt: skip

    def save(
        self, path: Path | str, image: Rgb | None = None, *, style: OverlayStyle = DEFAULT_STYLE
    ) -> None:
        """Writes `plot(image)` to a file; how it ends says of which format it is, .png for one.

        .svg and .pdf files have the outlines of `masks.rings()` as paths over the photo.

        Raises: ValueError as `plot`, if the file cannot be written, or if matplotlib, which draws
          .svg and .pdf, is not installed.
        """
        if Path(path).suffix.lower() not in VECTOR_FORMATS:
            save_picture(Path(path), self.plot(image, style=style))
            return
        save_vector_overlay(
            Path(path), ground(self.image_hw) if image is None else image, self.boxes,
            self.masks.rings(), self.class_names, self.scores, classes=self.classes, style=style,
        )  # fmt: skip

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
    """coarse_probs [m, m] and the steps from there to the full resolution."""

    coarse_probs: np.ndarray
    steps: list[ExplainedStep]
