"""Evaluation of instances: box AP, mask AP and Boundary AP, rendered beside coarse.

Every evaluation reports the rendered masks and the coarse masks they were rendered from, so that it
shows what rendering adds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from pycocotools.coco import COCO

from pointrend_jax.evaluation.coco import Curves, KindScores, OverlapKind, coco_scores
from pointrend_jax.evaluation.ground_truth import load_ground_truth
from pointrend_jax.evaluation.results import MaskSource, Results, check_disjoint

# Group of results, whose masks, kind of overlap.
_GROUPS: tuple[tuple[str, MaskSource, OverlapKind], ...] = (
    ("rendered", "rendered", "mask"),
    ("rendered", "rendered", "boundary"),
    ("coarse", "coarse", "mask"),
    ("coarse", "coarse", "boundary"),
    ("box", "rendered", "box"),
)


class InstanceScores(NamedTuple):
    """The results of all kinds of overlap; curves by group and kind, as "rendered_mask"."""

    results: Results
    curves: dict[str, Curves]


class InstanceEvaluator:
    """Collects detections image by image, then scores them.

    Args:
      ground_truth: content or path of a COCO annotation file.
      boundary_dilation: width of the boundary as a part of the image diagonal; 0.02 is COCO's and
        LVIS's, Cityscapes has 0.005.
      rules: called as `coco_scores`, but for `max_detections`.

    Raises: ValueError as `load_ground_truth`.
    """

    def __init__(
        self,
        ground_truth: Mapping[str, Any] | Path | str,
        *,
        boundary_dilation: float = 0.02,
        rules: Callable[..., KindScores] | None = None,
    ) -> None:
        self._ground_truth = load_ground_truth(ground_truth)
        self._boundary_dilation = boundary_dilation
        self._rules = coco_scores if rules is None else rules
        # By image: several threads may add, each other images.
        self._detections: dict[int, dict[MaskSource, list[dict[str, Any]]]] = {}

    @property
    def ground_truth(self) -> COCO:
        return self._ground_truth

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The images added so far, ascending."""
        return tuple(sorted(self._detections))

    def add(
        self,
        image_id: int,
        boxes: Float[np.ndarray, "D 4"],
        scores: Float[np.ndarray, " D"],
        category_ids: Int[np.ndarray, " D"],
        rendered_rles: Sequence[Mapping[str, Any]],
        coarse_rles: Sequence[Mapping[str, Any]],
    ) -> None:
        """Adds the detections of one image; an image without any must be added too.

        Args:
          boxes: xyxy in pixels of the original image.
          category_ids: ids of the annotation file, not class indices.
          rendered_rles, coarse_rles: D masks as COCO RLE of the original image's size.

        Raises: ValueError if the image or a category is not of the ground truth, the image was
          added before, or the lengths differ.
        """
        given = (boxes, scores, category_ids, rendered_rles, coarse_rles)
        self._check(image_id, category_ids, [len(values) for values in given])
        found = [
            {
                "image_id": image_id,
                "category_id": int(category_id),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(score),
            }
            for category_id, score, (x0, y0, x1, y1) in zip(
                category_ids, scores, boxes.tolist(), strict=True
            )
        ]
        sources: dict[MaskSource, Sequence[Mapping[str, Any]]]
        sources = {"rendered": rendered_rles, "coarse": coarse_rles}
        self._detections[image_id] = {
            source: [
                {**detection, "segmentation": dict(rle)}
                for detection, rle in zip(found, rles, strict=True)
            ]
            for source, rles in sources.items()
        }

    @property
    def parts(self) -> dict[int, dict[MaskSource, list[dict[str, Any]]]]:
        """What was added so far, for `merge` of an evaluator in another process."""
        return self._detections

    def merge(self, parts: dict[int, dict[MaskSource, list[dict[str, Any]]]]) -> None:
        """Adds the images of another evaluator. Raises ValueError if both have an image."""
        check_disjoint(self._detections, parts)
        self._detections |= parts

    def coco_results(self, source: MaskSource = "rendered") -> list[dict[str, Any]]:
        """The detections in COCO's result format, by image, fit for JSON; boxes are xywh."""
        return [found for i in self.image_ids for found in self.of_image(i, source)]

    def of_image(self, image_id: int, source: MaskSource = "rendered") -> list[dict[str, Any]]:
        """`coco_results` of one image."""
        return [dict(found) for found in self._detections[image_id][source]]

    def results(self, image_ids: Iterable[int] | None = None) -> Results:
        """The results of `scores`."""
        return self.scores(image_ids).results

    def scores(self, image_ids: Iterable[int] | None = None) -> InstanceScores:
        """{"rendered": {"mask_ap", ..., "boundary_ap", ...}, "coarse": the same, "box": {...}}.

        The names are those of the rules (COCO's: `STAT_NAMES`) behind "mask_", "boundary_" and
        "box_", AP in 0..1, None where the ground truth has nothing to find (pycocotools' -1). AP of
        each category, by its name, is in groups of its own: "rendered_mask_ap_by_class" and
        "rendered_boundary_ap_by_class", the same of coarse masks, and "box_ap_by_class". The curves
        are in groups "rendered_mask", "rendered_boundary", the same of coarse masks, and "box".

        Args:
          image_ids: the images to score; None for all of the ground truth.

        Raises: ValueError if one of them was never added: its objects would count as missed.
        """
        chosen = sorted(self._ground_truth.imgs if image_ids is None else set(image_ids))
        absent = [image_id for image_id in chosen if image_id not in self._detections]
        if absent:
            raise ValueError(
                f"{len(absent)} of {len(chosen)} images were never evaluated, the first is "
                f"{absent[0]}; pass image_ids=evaluator.image_ids to score the others alone."
            )
        results: Results = {"rendered": {}, "coarse": {}, "box": {}}
        by_class: Results = {}
        curves: dict[str, Curves] = {}
        names = distinct_names(self._ground_truth)
        for group, source, kind in _GROUPS:
            scores = self._rules(
                self._ground_truth,
                self.coco_results(source),
                kind,
                boundary_dilation=self._boundary_dilation,
                image_ids=chosen,
            )
            results[group] |= {f"{kind}_{name}": v for name, v in scores.statistics.items()}
            prefix = "" if kind == "box" else f"{group}_"
            by_class[f"{prefix}{kind}_ap_by_class"] = {
                names[i]: value for i, value in scores.ap_by_category.items()
            }
            curves[f"{prefix}{kind}"] = scores.curves
        return InstanceScores(results | by_class, curves)

    def _check(self, image_id: int, category_ids: np.ndarray, lengths: list[int]) -> None:
        if image_id not in self._ground_truth.imgs:
            raise ValueError(f"Image {image_id} is not in the ground truth.")
        if image_id in self._detections:
            raise ValueError(f"Image {image_id} was added before; add each image once.")
        unknown = sorted(set(category_ids.tolist()) - set(self._ground_truth.cats))
        if unknown:
            raise ValueError(
                f"Categories {unknown} are not in the ground truth; map classes to category ids."
            )
        if len(set(lengths)) != 1:
            raise ValueError(f"Boxes, scores, categories and masks must be as many, got {lengths}.")


def distinct_names(ground_truth: COCO) -> dict[int, str]:
    """The name of each category, with its id where names repeat."""
    names = {i: str(category["name"]) for i, category in ground_truth.cats.items()}
    counts = Counter(names.values())
    return {i: name if counts[name] == 1 else f"{name} ({i})" for i, name in names.items()}
