"""What a semantic prediction gives: a class for every pixel of one image. numpy only."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8


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
