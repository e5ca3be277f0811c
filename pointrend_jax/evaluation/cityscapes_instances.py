"""Cityscapes instance AP, as evalInstanceLevelSemanticLabeling.py of cityscapesscripts counts it.

Not COCO's AP: a match is an overlap strictly above the threshold, with no limit on the number of
detections; AP is the area under the precision-recall curve itself, by steps half-way between its
points; objects below 100 pixels are neither to be found nor false; a detection that matches nothing
is ignored, not false, if the part of it on void, groups and small objects of its class exceeds the
threshold. An image costs what its detections cost, not detections times pixels: masks are RLEs, and
only the overlaps are kept.

One departure: where objects of a class exist, but every detection of it is ignored and none
matches, the official script ends with an IndexError; here AP is 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pointrend_jax.cityscapes_labels import INSTANCES, VOID, is_single_object, labels_of
from pointrend_jax.evaluation.results import MaskSource, Results, check_disjoint
from pointrend_jax.masks.runs import runs_that_fill

# .5, .55, ..., .95, with the official script's rounding errors: overlaps are compared with them.
_THRESHOLDS = np.arange(0.5, 1.0, 0.05)
_MIN_PIXELS = 100


class ClassOverlaps(NamedTuple):
    """Detections and objects of one class in one image.

    Attributes:
      scores, pixels, void_pixels: of each detection; void pixels are those on void.
      object_pixels: size of each object or group of objects.
      is_group: the objects that are groups.
      common_pixels: of each detection and object.
    """

    scores: Float[np.ndarray, " D"]
    pixels: Int[np.ndarray, " D"]
    void_pixels: Int[np.ndarray, " D"]
    object_pixels: Int[np.ndarray, " G"]
    is_group: Bool[np.ndarray, " G"]
    common_pixels: Int[np.ndarray, "D G"]


class CityscapesInstanceEvaluator:
    """Collects detections image by image, then scores them."""

    def __init__(self) -> None:
        # By image and source: the overlaps of each class, in the order of the labels.
        self._overlaps: dict[int, dict[MaskSource, tuple[ClassOverlaps, ...]]] = {}

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The images added so far, ascending."""
        return tuple(sorted(self._overlaps))

    def add(
        self,
        image_id: int,
        label_ids: Int[np.ndarray, " D"],
        scores: Float[np.ndarray, " D"],
        rendered_rles: Sequence[Mapping[str, Any]],
        coarse_rles: Sequence[Mapping[str, Any]],
        instance_ids: Int[np.ndarray, "H W"],
    ) -> None:
        """Adds the detections of one image; an image without any must be added too.

        Args:
          label_ids: of Cityscapes (24..33), not class indices; detections of labels that are not in
            `cityscapes_labels.INSTANCES` are left out.
          rendered_rles, coarse_rles: D masks as COCO RLE of the size of `instance_ids`; empty ones
            are left out.
          instance_ids: the map of *_gtFine_instanceIds.png.

        Raises: ValueError if the image was added before, lengths differ, or an RLE is malformed or
          of another size.
        """
        if image_id in self._overlaps:
            raise ValueError(f"Image {image_id} was added before; add each image once.")
        lengths = [len(v) for v in (label_ids, scores, rendered_rles, coarse_rles)]
        if len(set(lengths)) != 1:
            raise ValueError(f"Labels, scores and masks must be as many, got {lengths}.")
        truth = _Truth(instance_ids)
        sources: dict[MaskSource, Sequence[Mapping[str, Any]]]
        sources = {"rendered": rendered_rles, "coarse": coarse_rles}
        self._overlaps[image_id] = {
            source: truth.overlaps(label_ids, scores, rles) for source, rles in sources.items()
        }

    @property
    def parts(self) -> dict[int, dict[MaskSource, tuple[ClassOverlaps, ...]]]:
        """What was added so far, for `merge` of an evaluator in another process."""
        return self._overlaps

    def merge(self, parts: dict[int, dict[MaskSource, tuple[ClassOverlaps, ...]]]) -> None:
        """Adds the images of another evaluator. Raises ValueError if both have an image."""
        check_disjoint(self._overlaps, parts)
        self._overlaps |= parts

    def results(self) -> Results:
        """{"rendered": {"mask_ap", "mask_ap50"}, "rendered_ap": by class name, "rendered_ap50": by
        class name, and the same of "coarse"}; AP in 0..1, None for a class without objects.

        Raises: ValueError if no image was added.
        """
        if not self._overlaps:
            raise ValueError("No image was added; there is nothing to score.")
        results: Results = {}
        sources: tuple[MaskSource, ...] = ("rendered", "coarse")
        for source in sources:
            images = [self._overlaps[i][source] for i in self.image_ids]
            ap = np.asarray([class_ap(of_class) for of_class in zip(*images, strict=True)])
            has_objects = ~np.isnan(ap[:, 0])
            scored = ap[has_objects]
            results[source] = {
                "mask_ap": float(scored.mean()) if scored.size else None,
                "mask_ap50": float(scored[:, 0].mean()) if scored.size else None,
            }
            names = INSTANCES.values()
            for name, values in (("ap", ap.mean(1)), ("ap50", ap[:, 0])):
                by_class = zip(names, values.tolist(), has_objects, strict=True)
                results[f"{source}_{name}"] = {c: v if ok else None for c, v, ok in by_class}
        return results


def class_ap(images: Sequence[ClassOverlaps]) -> Float[np.ndarray, " T"]:
    """AP of one class at each threshold (.5:.05:.95); NaN if there is nothing to find."""
    num_objects = sum(int(np.count_nonzero(_to_find(image))) for image in images)
    if num_objects == 0:
        return np.full(len(_THRESHOLDS), np.nan)
    return np.asarray([_class_ap_at(images, num_objects, float(t)) for t in _THRESHOLDS])


class _Truth:
    """An instance map, indexed for the overlaps with masks in the column-major order of RLEs."""

    def __init__(self, instance_ids: np.ndarray) -> None:
        self._image_hw = instance_ids.shape
        ids, index, sizes = np.unique(instance_ids, return_inverse=True, return_counts=True)
        self._ids, self._sizes = ids.astype(np.int64), sizes
        self._index = index.reshape(instance_ids.shape).ravel(order="F")
        self._is_group = ~is_single_object(self._ids)
        self._labels = labels_of(self._ids)
        # Single objects of a void label (caravan, trailer) are not void, as in the official script.
        self._is_void = np.isin(self._ids, VOID)

    def overlaps(
        self, label_ids: np.ndarray, scores: np.ndarray, rles: Sequence[Mapping[str, Any]]
    ) -> tuple[ClassOverlaps, ...]:
        """The overlaps of the masks with the objects of each class, in the order of the labels."""
        common = np.zeros((len(rles), len(self._ids)), np.int64)
        for i, rle in enumerate(rles):
            if label_ids[i] in INSTANCES:
                common[i] = self._common_pixels(rle)
        pixels = common.sum(1)
        classes = []
        for label in INSTANCES:
            found = (label_ids == label) & (pixels > 0)
            true = self._labels == label
            classes.append(
                ClassOverlaps(
                    scores=scores[found].astype(np.float64),
                    pixels=pixels[found],
                    void_pixels=common[found][:, self._is_void].sum(1),
                    object_pixels=self._sizes[true],
                    is_group=self._is_group[true],
                    common_pixels=common[found][:, true],
                )
            )
        return tuple(classes)

    def _common_pixels(self, rle: Mapping[str, Any]) -> np.ndarray:
        """Pixels of the mask by instance id; reads no more of the map than the mask spans."""
        height, width = self._image_hw
        if tuple(rle["size"]) != (height, width):
            raise ValueError(
                f"A mask must be an RLE of the size of the instance map, {(height, width)}, got "
                f"size {tuple(rle['size'])}."
            )
        runs = runs_that_fill(rle)
        # From the end of the first run, of zeros, to the last one.
        inside = np.repeat(np.arange(1, len(runs)) % 2 == 1, runs[1:])
        values = self._index[len(self._index) - len(inside) :][inside]
        return np.bincount(values, minlength=len(self._ids))


def _to_find(image: ClassOverlaps) -> Bool[np.ndarray, " G"]:
    return ~image.is_group & (image.object_pixels >= _MIN_PIXELS)


def _class_ap_at(images: Sequence[ClassOverlaps], num_objects: int, threshold: float) -> float:
    true, false = zip(*(_true_and_false(image, threshold) for image in images), strict=True)
    return step_average_precision(np.concatenate(true), np.concatenate(false), num_objects)


def _true_and_false(
    image: ClassOverlaps, threshold: float
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " M"]]:
    """The scores of true and of false positives; a detection may be neither."""
    union = image.pixels[:, None] + image.object_pixels[None, :] - image.common_pixels
    is_match = image.common_pixels / union > threshold
    true, false = [], []
    for of_object in is_match[:, _to_find(image)].T:
        # The best one finds the object; the others that match are false.
        matching = np.sort(image.scores[of_object])
        true.append(matching[-1:])
        false.append(matching[:-1])
    # A small group counts twice, as in the official script.
    is_small = image.object_pixels < _MIN_PIXELS
    ignored = image.void_pixels + image.common_pixels[:, image.is_group].sum(1)
    ignored = ignored + image.common_pixels[:, is_small].sum(1)
    is_false = ~is_match.any(1) & (ignored / image.pixels <= threshold)
    false.append(image.scores[is_false])
    return np.concatenate([np.zeros(0), *true]), np.concatenate(false)


def step_average_precision(
    true_scores: Float[np.ndarray, " N"], false_scores: Float[np.ndarray, " M"], num_objects: int
) -> float:
    """The area under the precision-recall curve of one class at one threshold.

    A point for each distinct score s, of the detections that score at least s, and (0, 1) as the
    last. The precision of a point holds half-way to its neighbours; that of the first, at the
    highest recall, not beyond it.
    """
    scores = np.unique(np.concatenate([true_scores, false_scores]))
    true = len(true_scores) - np.searchsorted(np.sort(true_scores), scores)
    false = len(false_scores) - np.searchsorted(np.sort(false_scores), scores)
    precision = np.append(true / (true + false), 1.0)
    recall = np.append(true / num_objects, 0.0)
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ (padded[:-2] - padded[2:])) / 2
