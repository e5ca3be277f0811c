"""What semantic segmentation is scored by: counts of each image, from which every score follows.

All scores are ratios of sums over images, so the counts of each image are all that scoring,
resampling images (`benchmarks/semantic_bootstrap.py`) and comparing with a later run need. Pixels
without ground truth (`IGNORE_LABEL`) count nowhere.

* Confusion: pixels by true and predicted class.
* Objects (iIoU; evalPixelLevelSemanticLabeling.py of cityscapesscripts): every object of a class
  counts alike, its pixels weighing (average size of the class) / (size of the object).
* Boundary (Cheng et al., "Boundary IoU", 2021): `mask_boundary` of each class's own mask in truth
  and prediction, after pixels without ground truth are taken out of both. Not the eroded label map:
  that mixes neighbouring classes and depends on the order of their labels.
* Trimap (Kohli et al. 2009; Krähenbühl and Koltun 2011): the confusion within w pixels on either
  side of the truth's boundaries, `boundary_distance`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from pointrend_jax.cityscapes_labels import is_single_object
from pointrend_jax.masks.boundary import mask_boundary
from pointrend_jax.structures import IGNORE_LABEL

# As many as a uint8 label can name.
_NUM_LABELS = 256


class LabelCounts(NamedTuple):
    """The counts of predicted label maps against the truth; of one image, there is no axis I.

    Attributes:
      confusion: pixels by [true, predicted] class.
      object_hits: weighted pixels of the objects of a class that are predicted as that class.
      boundary_intersection, boundary_union: pixels of the boundary of each class.
      trimap_confusion: `confusion` within each of T widths.
    """

    confusion: Int[np.ndarray, "*I K K"]
    object_hits: Float[np.ndarray, "*I K"]
    boundary_intersection: Int[np.ndarray, "*I K"]
    boundary_union: Int[np.ndarray, "*I K"]
    trimap_confusion: Int[np.ndarray, "*I T K K"]


class Objects(NamedTuple):
    """The objects of an image that iIoU counts.

    Attributes:
      pixels: where they are.
      position: which one is at each of those pixels, row by row.
      classes, weights: of each; the weight is 0 where the class has no iIoU.
    """

    pixels: Bool[np.ndarray, "H W"]
    position: Int[np.ndarray, " P"]
    classes: Int[np.ndarray, " O"]
    weights: Float[np.ndarray, " O"]

    def by_class(self, counted: Bool[np.ndarray, " P"], num_classes: int) -> np.ndarray:
        """The weighted number of the pixels that are `counted`, by class of the object."""
        pixels = np.bincount(self.position[counted], minlength=len(self.classes))
        sums = np.bincount(self.classes, pixels * self.weights, minlength=_NUM_LABELS)
        return sums[:num_classes]


def count_labels(
    predicted: UInt8[np.ndarray, "H W"],
    truth: UInt8[np.ndarray, "H W"],
    rings: Int[np.ndarray, "H W"],
    objects: Objects,
    *,
    num_classes: int,
    num_widths: int,
    boundary_dilation: float,
) -> LabelCounts:
    """The counts of one image.

    Args:
      predicted: 0..K-1.
      truth: 0..K-1, or `IGNORE_LABEL`.
      rings: from `trimap_rings` with T widths.
      objects: from `find_objects`.
    """
    labelled = truth != IGNORE_LABEL
    cells = rings[labelled] * num_classes + truth[labelled]
    cells = cells * num_classes + predicted[labelled]
    shape = (num_widths + 1, num_classes, num_classes)
    by_ring = np.bincount(cells, minlength=np.prod(shape)).reshape(shape)
    intersection, union = _boundary_counts(
        np.where(labelled, predicted, IGNORE_LABEL), truth, num_classes, boundary_dilation
    )
    is_hit = predicted[objects.pixels] == objects.classes[objects.position]
    return LabelCounts(
        confusion=by_ring.sum(0),
        object_hits=objects.by_class(is_hit, num_classes),
        boundary_intersection=intersection,
        boundary_union=union,
        trimap_confusion=np.cumsum(by_ring[:num_widths], axis=0),
    )


def find_objects(
    truth: UInt8[np.ndarray, "H W"],
    instance_ids: Int[np.ndarray, "H W"] | None,
    average_sizes: Float[np.ndarray, " K"],
) -> Objects:
    """The objects of an image and what a pixel of each weighs; none if `instance_ids` is None.

    An object has the class that most of its pixels have in `truth`.

    Args:
      instance_ids: an instance map as Cityscapes numbers it (`cityscapes_labels`).
      average_sizes: pixels; 0 for a class without iIoU.
    """
    if instance_ids is None:
        instance_ids = np.zeros(truth.shape, np.int64)
    pixels = is_single_object(instance_ids)
    ids = instance_ids[pixels]
    values, index = np.unique(ids, return_inverse=True)
    labels = np.bincount(index * _NUM_LABELS + truth[pixels], minlength=len(values) * _NUM_LABELS)
    classes = labels.reshape(len(values), _NUM_LABELS).argmax(1)
    sizes = np.pad(average_sizes, (0, _NUM_LABELS - len(average_sizes)))
    weights = sizes[classes] / np.bincount(index, minlength=len(values))
    return Objects(pixels, index, classes, weights)


def trimap_rings(truth: UInt8[np.ndarray, "H W"], widths: Sequence[int]) -> Int[np.ndarray, "H W"]:
    """By pixel, the number of `widths` that it does not lie within."""
    return np.searchsorted(np.asarray(widths), boundary_distance(truth), side="right")


def boundary_distance(truth: UInt8[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Pixels to the nearest pixel beside a boundary of the truth; infinite without a boundary.

    A boundary runs between two 4-neighbours of different classes, and both of them are at distance
    0, so that a distance below w is a band of w pixels on either side. The distance is Euclidean: a
    slanted boundary has as wide a band as an upright one.

    Where the ground truth ends there is no boundary. DeepLab measures around void, which outlines
    the objects of PASCAL VOC; in Cityscapes and CamVid void covers regions of their own.
    """
    beside = np.zeros(truth.shape, np.bool_)
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        a, b = truth[first], truth[second]
        differs = (a != b) & (a != IGNORE_LABEL) & (b != IGNORE_LABEL)
        beside[first] |= differs
        beside[second] |= differs
    if not beside.any():
        return np.full(truth.shape, np.inf, np.float32)
    elsewhere = np.where(beside, np.uint8(0), np.uint8(1))
    return cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _boundary_counts(
    predicted: np.ndarray, truth: np.ndarray, num_classes: int, dilation: float
) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """Pixels of the boundaries' intersection and union, by class."""
    intersection, union = np.zeros((2, num_classes), np.int64)
    for label in range(num_classes):
        found = mask_boundary(predicted == label, dilation)
        true = mask_boundary(truth == label, dilation)
        intersection[label] = np.count_nonzero(found & true)
        union[label] = np.count_nonzero(found | true)
    return intersection, union
