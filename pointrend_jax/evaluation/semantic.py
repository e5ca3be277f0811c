"""Evaluation of semantic segmentation: mIoU, iIoU, Boundary IoU and trimap mIoU.

Rendered labels beside the coarse ones, so that it shows what rendering adds.

`semantic_counts` says what is counted in an image, `semantic_scores` what is made of the counts.
Predictions are labels at one scale: with test-time augmentation they go to an evaluator of their
own, so that the two are never mixed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from pointrend_jax.evaluation.matches import confusion_pairs
from pointrend_jax.evaluation.results import Details, Results, check_disjoint
from pointrend_jax.evaluation.semantic_counts import (
    LabelCounts,
    count_labels,
    find_objects,
    trimap_rings,
)
from pointrend_jax.evaluation.semantic_scores import SemanticCounts, save_counts, score
from pointrend_jax.storage import AnyPath
from pointrend_jax.structures import IGNORE_LABEL

# Pixels; args.avgClassSize of evalPixelLevelSemanticLabeling.py, for the classes it evaluates.
CITYSCAPES_OBJECT_SIZES = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}


class SemanticEvaluator:
    """Counts labels image by image, then scores them.

    Args:
      class_names: of the labels 0..K-1.
      average_object_sizes: pixels, by the name of each class that is to have an iIoU, such as
        `CITYSCAPES_OBJECT_SIZES`; None where objects are not told apart.
      boundary_dilation: width of the boundary as a part of the image diagonal; 0.005 is that of
        Cityscapes.
      trimap_widths: pixels on either side of a boundary, ascending.

    Raises: ValueError if a size is of no class, or the widths are not positive and ascending.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        average_object_sizes: Mapping[str, float] | None = None,
        boundary_dilation: float = 0.005,
        trimap_widths: Sequence[int] = (1, 2, 4, 8, 16),
    ) -> None:
        sizes = dict(average_object_sizes or {})
        unknown = sorted(set(sizes) - set(class_names))
        if unknown:
            raise ValueError(
                f"average_object_sizes has {unknown}, which are none of the class names."
            )
        if list(trimap_widths) != sorted(set(trimap_widths)) or min(trimap_widths, default=1) < 1:
            raise ValueError(
                f"trimap_widths must be positive and ascending, got {tuple(trimap_widths)}."
            )
        self._class_names = tuple(class_names)
        self._sizes = np.asarray([sizes.get(name, 0.0) for name in class_names])
        self._boundary_dilation = boundary_dilation
        self._trimap_widths = tuple(trimap_widths)
        # By image: the weighted pixels of objects, then the counts of rendered and coarse.
        self._counts: dict[int, tuple[np.ndarray, LabelCounts, LabelCounts]] = {}

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The images added so far, ascending."""
        return tuple(sorted(self._counts))

    def add(
        self,
        image_id: int,
        rendered: UInt8[np.ndarray, "h w"],
        coarse: UInt8[np.ndarray, "h w"],
        truth: UInt8[np.ndarray, "H W"],
        instance_ids: Int[np.ndarray, "H W"] | None = None,
    ) -> None:
        """Counts the labels of one image, all at its original size.

        Args:
          rendered, coarse: 0..K-1 everywhere.
          truth: 0..K-1, or `IGNORE_LABEL`.
          instance_ids: an instance map as Cityscapes numbers it (`cityscapes_labels`); needed with
            `average_object_sizes`.

        Raises: ValueError if the image was added before, sizes differ, a label is out of range, or
          `instance_ids` are missing.
        """
        self._check(image_id, rendered, coarse, truth, instance_ids)
        rings = trimap_rings(truth, self._trimap_widths)
        objects = find_objects(truth, instance_ids, self._sizes)
        num_classes = len(self._class_names)
        totals = objects.by_class(np.ones(len(objects.position), np.bool_), num_classes)
        of_rendered, of_coarse = (
            count_labels(
                predicted,
                truth,
                rings,
                objects,
                num_classes=num_classes,
                num_widths=len(self._trimap_widths),
                boundary_dilation=self._boundary_dilation,
            )
            for predicted in (rendered, coarse)
        )
        self._counts[image_id] = totals, of_rendered, of_coarse

    @property
    def parts(self) -> dict[int, tuple[np.ndarray, LabelCounts, LabelCounts]]:
        """What was added so far, for `merge` of an evaluator in another process."""
        return self._counts

    def merge(self, parts: dict[int, tuple[np.ndarray, LabelCounts, LabelCounts]]) -> None:
        """Adds the images of another evaluator. Raises ValueError if both have an image."""
        check_disjoint(self._counts, parts)
        self._counts |= parts

    def counts(self) -> SemanticCounts:
        """Raises: ValueError if no image was added."""
        if not self._counts:
            raise ValueError("No image was added; there is nothing to score.")
        totals, rendered, coarse = zip(*(self._counts[i] for i in self.image_ids), strict=True)
        return SemanticCounts(
            class_names=self._class_names,
            instance_classes=tuple(np.asarray(self._class_names)[self._sizes > 0].tolist()),
            trimap_widths=self._trimap_widths,
            image_ids=np.asarray(self.image_ids),
            object_totals=np.stack(totals),
            rendered=LabelCounts(*map(np.stack, zip(*rendered, strict=True))),
            coarse=LabelCounts(*map(np.stack, zip(*coarse, strict=True))),
        )

    def save_counts(self, path: AnyPath) -> None:
        """Raises: ValueError as `counts`, or if the file cannot be written."""
        save_counts(path, self.counts())

    def results(self) -> Results:
        """`score` of the images added so far. Raises: ValueError if there are none."""
        return score(self.counts())

    def quality(self, image_id: int) -> float | None:
        """mIoU of the rendered labels of one image; None if all of its pixels are void."""
        confusion = self._counts[image_id][1].confusion
        correct = np.diagonal(confusion)
        union = confusion.sum(0) + confusion.sum(1) - correct
        present = union > 0
        return float((correct[present] / union[present]).mean()) if present.any() else None

    def details(self) -> Details:
        """Where classes are confused, in pixels of the rendered labels."""
        total = np.sum([counts[1].confusion for counts in self._counts.values()], axis=0)
        occurring = zip(*(axis.tolist() for axis in np.nonzero(total)), strict=True)
        pairs = {(true, found): int(total[true, found]) for true, found in occurring}
        named = confusion_pairs(pairs, self._class_names)
        classes = list(self._class_names)
        return {"confusion": {"unit": "pixels", "classes": classes, "pairs": named}}

    def _check(
        self,
        image_id: int,
        rendered: np.ndarray,
        coarse: np.ndarray,
        truth: np.ndarray,
        instance_ids: np.ndarray | None,
    ) -> None:
        if image_id in self._counts:
            raise ValueError(f"Image {image_id} was added before; add each image once.")
        if self._sizes.any() and instance_ids is None:
            raise ValueError(
                f"Image {image_id} needs instance_ids for iIoU; for a data set without them leave "
                "average_object_sizes out."
            )
        maps = {"rendered": rendered, "coarse": coarse, "truth": truth}
        for name, labels in maps.items():
            if labels.shape != truth.shape:
                raise ValueError(
                    f"Image {image_id}: {name} labels must have the size of the truth, "
                    f"{truth.shape}, got {labels.shape}; bring predictions to the original size."
                )
            known = labels[labels != IGNORE_LABEL] if name == "truth" else labels
            if known.max(initial=0) >= len(self._class_names):
                raise ValueError(
                    f"Image {image_id}: {name} labels must be below {len(self._class_names)}, got "
                    f"{known.max()}; map the data set's label ids to classes."
                )
