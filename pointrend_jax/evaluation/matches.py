"""What became of each object and of each sure detection: the pairs behind a confusion matrix.

AP says how good a model is; the pairs say what it takes for what. A detection counts from a score
of `SURE` on, as one that `predict` draws. From the best score on, each takes the object of its
image, of any class, that its mask overlaps most, if by an IoU of at least `LEAST_OVERLAP` and if no
better one has taken it. What is left over is paired with the background.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools.coco import COCO

from pointrend_jax.evaluation.results import Details, check_disjoint
from pointrend_jax.masks.rle import rle_iou
from pointrend_jax.structures import FEDERATED_LISTS

SURE, LEAST_OVERLAP = 0.5, 0.5
# Where the bins of sizes begin: the side, in pixels, of a square with the object's area. 32 and 96
# are where COCO's medium and large objects begin.
_SIDES = (0, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512)


class Matches(NamedTuple):
    """The pairs of one image. K, as many as there are classes, is the background.

    Attributes:
      true, predicted: 0..K; never both K.
      overlap: IoU of the masks; 0 beside background.
      area: of the object, in pixels; 0 of background.
    """

    true: Int[np.ndarray, " P"]
    predicted: Int[np.ndarray, " P"]
    overlap: Float[np.ndarray, " P"]
    area: Float[np.ndarray, " P"]


def taken_objects(
    overlaps: Float[np.ndarray, "D G"], is_crowd: Bool[np.ndarray, " G"]
) -> list[int | None]:
    """The object that each detection takes, the best detection first; None if it takes none.

    Args:
      overlaps: IoU of the masks. is_crowd: of objects that none takes.
    """
    free = np.flatnonzero(~is_crowd).tolist()
    taken: list[int | None] = []
    for row in overlaps:
        best = max(free, key=lambda i, row=row: row[i], default=None)
        if best is not None and row[best] >= LEAST_OVERLAP:
            free.remove(best)
            taken.append(best)
        else:
            taken.append(None)
    return taken


class MatchFinder:
    """Collects the pairs image by image.

    A detection that finds no object is left out, and not false, where nobody can tell: on a crowd
    region of its class, and where a federated set (LVIS) does not say that the class is absent.

    Args:
      ground_truth: from `load_ground_truth`; classes are its categories by ascending id.
    """

    def __init__(self, ground_truth: COCO) -> None:
        self._ground_truth = ground_truth
        self._labels = {i: label for label, i in enumerate(sorted(ground_truth.cats))}
        # By image: several threads may add, each other images.
        self._matches: dict[int, Matches] = {}

    def add(
        self,
        image_id: int,
        category_ids: Int[np.ndarray, " D"],
        scores: Float[np.ndarray, " D"],
        rles: Sequence[Mapping[str, Any]],
    ) -> None:
        """Pairs the detections of one image, which are checked already (`InstanceEvaluator`)."""
        sure = np.flatnonzero(scores >= SURE)
        order = sure[np.argsort(-scores[sure], kind="stable")]
        found = [self._labels[int(category_ids[i])] for i in order]
        truths: Any = self._ground_truth.imgToAnns[image_id]
        true = [self._labels[truth["category_id"]] for truth in truths]
        is_crowd = np.asarray([truth["iscrowd"] for truth in truths], np.bool_)
        overlaps = rle_iou(
            [rles[i] for i in order], [truth["segmentation"] for truth in truths], is_crowd.tolist()
        )
        background, taken = len(self._labels), taken_objects(overlaps, is_crowd)
        pairs: list[tuple[int, int, float, float]] = []
        for label, row, best in zip(found, overlaps, taken, strict=True):
            if best is not None:
                pairs.append((true[best], label, row[best], truths[best]["area"]))
                continue
            on_crowd = is_crowd & (np.asarray(true) == label) & (row >= LEAST_OVERLAP)
            if not on_crowd.any() and self._is_false(image_id, label, true):
                pairs.append((background, label, 0.0, 0.0))
        missed = set(np.flatnonzero(~is_crowd).tolist()) - set(taken)
        pairs += [(true[i], background, 0.0, truths[i]["area"]) for i in sorted(missed)]
        columns = np.asarray(pairs, np.float64).reshape(-1, 4).T
        labels = columns[:2].astype(np.int64)
        self._matches[image_id] = Matches(*labels, *columns[2:])

    def _is_false(self, image_id: int, label: int, true: Sequence[int]) -> bool:
        """Whether a detection of the class, which finds nothing, is known to be wrong."""
        image: Any = self._ground_truth.imgs[image_id]
        if not any(name in image for name in FEDERATED_LISTS):
            return True
        absent, more = ({self._labels.get(i) for i in image[name]} for name in FEDERATED_LISTS)
        return label in absent or (label in true and label not in more)

    @property
    def parts(self) -> dict[int, Matches]:
        """What was added so far, for `merge` of its like in another process."""
        return self._matches

    def merge(self, parts: dict[int, Matches]) -> None:
        """Adds the images of another. Raises ValueError if both have an image."""
        check_disjoint(self._matches, parts)
        self._matches |= parts

    def qualities(self) -> dict[int, float]:
        """`image_quality` of the images that have one, by ascending id."""
        num_classes = len(self._labels)
        found = {i: image_quality(self._matches[i], num_classes) for i in sorted(self._matches)}
        return {i: quality for i, quality in found.items() if quality is not None}

    def details(self, class_names: Sequence[str]) -> Details:
        """Where classes are confused, and sizes; nothing if no image was added.

        Args:
          class_names: K names.
        """
        every = [self._matches[i] for i in sorted(self._matches)]
        if not every:
            return {}
        true, predicted, _, area = (np.concatenate(column) for column in zip(*every, strict=True))
        pairs = Counter(zip(true.tolist(), predicted.tolist(), strict=True))
        is_object = true < len(class_names)
        return {
            "confusion": {
                "unit": "objects",
                "least_score": SURE,
                "least_iou": LEAST_OVERLAP,
                "classes": list(class_names),
                "pairs": confusion_pairs(pairs, class_names),
            },
            "sizes": _sizes(area[is_object], (true == predicted)[is_object]),
        }


def image_quality(matches: Matches, num_classes: int) -> float | None:
    """Panoptic quality of one image, of all its classes together; None where there is nothing.

    The sum of the overlaps of objects that are found as their class, by their number plus half of
    the number of false detections and of missed objects. Source: Kirillov et al., "Panoptic
    Segmentation" (2019), equation 1.
    """
    is_hit = matches.true == matches.predicted
    objects = np.count_nonzero(matches.true < num_classes)
    detections = np.count_nonzero(matches.predicted < num_classes)
    if not objects + detections:
        return None
    return float(2 * matches.overlap[is_hit].sum() / (objects + detections))


def confusion_pairs(
    counts: Mapping[tuple[int, int], int], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """{"true", "predicted", "count"} of each pair of classes that occurs, None for background.

    Args:
      counts: by true and predicted class, 0..K.
      class_names: K names.
    """
    names = [*class_names, None]
    return [
        {"true": names[true], "predicted": names[predicted], "count": int(count)}
        for (true, predicted), count in sorted(counts.items())
        if count
    ]


def _sizes(areas: Float[np.ndarray, " G"], found: Bool[np.ndarray, " G"]) -> Details:
    """Objects, and those found as their class, in bins of side, the last without an end."""
    bins = np.digitize(np.sqrt(areas), _SIDES) - 1
    objects, hits = (np.bincount(b, minlength=len(_SIDES)) for b in (bins, bins[found]))
    return {"sides": list(_SIDES), "objects": objects.tolist(), "found": hits.tolist()}
