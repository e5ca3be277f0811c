"""What a semantic prediction gives: a class for every pixel of one image."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from pointrend_jax.visualize import (
    VECTOR_FORMATS,
    Rgb,
    ground,
    overlay_labels,
    save_label_map,
    save_picture,
    save_vector_labels,
)


@dataclass(frozen=True, eq=False, repr=False)
class PredictedLabels:
    """The label map of one image.

    Attributes:
      labels: the best class of each pixel of the original image.
      coarse_labels: those of the coarse prediction, upsampled; equal to `labels` for a model
        without PointRend.
      class_names: K names; the index is the class.

    Example:
      labels = predictor.predict(image)
      road = labels.mask("road")  # bool [H, W]
      for name, share in labels.shares().items():
          print(f"{name}: {share:.1%} of the image")
      labels.save("labels.png", image)
    """

    labels: UInt8[np.ndarray, "H W"]
    coarse_labels: UInt8[np.ndarray, "H W"]
    class_names: tuple[str, ...]

    @property
    def image_hw(self) -> tuple[int, int]:
        """(height, width) of the original image in pixels."""
        height, width = self.labels.shape
        return height, width

    def mask(self, class_name: str) -> Bool[np.ndarray, "H W"]:
        """Where the image is of that class. Raises ValueError, listing the classes, for another."""
        if class_name not in self.class_names:
            raise ValueError(
                f"there is no class {class_name!r}; the classes are {', '.join(self.class_names)}."
            )
        return self.labels == self.class_names.index(class_name)

    def shares(self) -> dict[str, float]:
        """The part of the image that each class covers, largest first; only classes that occur."""
        pixels = np.bincount(self.labels.ravel(), minlength=len(self.class_names))
        order = np.argsort(-pixels, kind="stable")
        return {
            self.class_names[i]: float(pixels[i] / self.labels.size) for i in order if pixels[i]
        }

    def plot(
        self, image: Rgb | None = None, *, scale: float = 1.0, font: Path | None = None
    ) -> Rgb:
        """The picture that `predict` writes: the classes in colour, with a legend below.

        Args:
          image: the one that was predicted, uint8 [H, W, 3] in RGB order; None for a plain ground.
          scale: of the picture: 1 gives it the image's size, to which the legend is added.
          font: file of the typeface; None for the one inside Pillow, or an installed one for names
            with letters that it lacks.
        Raises: ValueError if the image is of another size, or the scale is out of range.
        """
        under = ground(self.image_hw) if image is None else image
        return overlay_labels(under, self.labels, self.class_names, scale=scale, font=font)

    def save(
        self,
        path: Path | str,
        image: Rgb | None = None,
        *,
        scale: float = 1.0,
        font: Path | None = None,
    ) -> None:
        """Writes `plot(image)` to a file; how it ends says of which format it is, .png for one.

        .svg and .pdf files have the areas of each class as paths over the photo.

        Raises: ValueError as `plot`, if the file cannot be written, or if matplotlib, which draws
          .svg and .pdf, is not installed.
        """
        if Path(path).suffix.lower() not in VECTOR_FORMATS:
            save_picture(Path(path), self.plot(image, scale=scale, font=font))
            return
        under = ground(self.image_hw) if image is None else image
        save_vector_labels(Path(path), under, self.labels, self.class_names, scale=scale, font=font)

    def save_labels(self, path: Path | str) -> None:
        """Writes `labels` as a PNG file with a palette: its values are class indices, which every
        viewer shows in the classes' colours.

        Raises: ValueError if the path does not end in .png, or the file cannot be written.
        """
        save_label_map(Path(path), self.labels, self.class_names)

    def __repr__(self) -> str:
        found = ", ".join(f"{name} {share:.0%}" for name, share in self.shares().items())
        return f"PredictedLabels(image_hw={self.image_hw}: {found})"


class ExplainedLabelStep(NamedTuple):
    """One rendering step, in the frame of the image.

    labels [h, w] after the step; uncertainty [h, w] and point_coords [P, 2] (x, y) in [0, 1], by
    which and where the step predicted.
    """

    labels: UInt8[np.ndarray, "h w"]
    uncertainty: Float32[np.ndarray, "h w"]
    point_coords: Float32[np.ndarray, "P 2"]


class ExplainedLabels(NamedTuple):
    """coarse_labels [h, w] and the steps from there to the full resolution."""

    coarse_labels: UInt8[np.ndarray, "h w"]
    steps: list[ExplainedLabelStep]
