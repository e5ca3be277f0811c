"""Boundary IoU as a score: how well the outlines of detections and objects agree.

Cheng et al., "Boundary IoU" (2021). An overlap counts as min(mask IoU, boundary IoU), the boundary
as masks/boundary.py has it. Matching and averaging stay those of pycocotools.
"""

from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pointrend_jax.masks.boundary import boundary_width, boundary_within
from pointrend_jax.masks.paste import changes_of_columns
from pointrend_jax.masks.rle import rle_iou
from pointrend_jax.masks.runs import Rle, encode_changes, runs_that_fill
from pointrend_jax.workers import in_order


def rle_boundary(rle: Rle, dilation: float) -> Rle:
    """`masks.boundary.mask_boundary` of an RLE; costs what the columns cost that the mask spans.

    Raises: ValueError as `runs_that_fill`.
    """
    height, width = rle["size"]
    runs = runs_that_fill(rle)
    if len(runs) < 2:
        return rle
    # Whole columns, as the runs go; where they end with zeros, only to the end of a column.
    first = runs[0] // height
    zeros_after = runs[-1] if len(runs) % 2 else 0
    runs[0] -= first * height
    runs[-1] -= zeros_after // height * height
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(-1, height)
    # A square kernel does not care which way the columns lie.
    boundary = boundary_within(bits, boundary_width((height, width), dilation))
    changes = changes_of_columns(first, boundary, (height, width))
    return encode_changes([changes], (height, width))[0]


class BoundaryCocoEval(COCOeval):
    """pycocotools' evaluation of masks with min(mask IoU, boundary IoU); crowds by mask IoU alone.

    A subclass because pycocotools offers no other place for an overlap of one's own.
    """

    def __init__(self, ground_truth: COCO, detections: COCO, *, dilation: float) -> None:
        super().__init__(ground_truth, detections, "segm")
        self._dilation = dilation

    def _prepare(self) -> None:
        super()._prepare()  # pyright: ignore[reportAttributeAccessIssue]
        # The stubs of pycocotools leave these two out.
        self._truths: Any = self._gts  # pyright: ignore[reportAttributeAccessIssue]
        self._found: Any = self._dts  # pyright: ignore[reportAttributeAccessIssue]
        # Without detections or without objects there is nothing to overlap.
        pairs = [pair for pair in self._truths if self._found.get(pair)]
        self._boundaries = dict(zip(pairs, in_order(self._of_pair, pairs), strict=True))

    def computeIoU(self, imgId: Any, catId: Any) -> Any:
        mask_ious = super().computeIoU(imgId, catId)
        if len(mask_ious) == 0:
            return mask_ious
        truths, boundaries = self._truths[imgId, catId], self._boundaries[imgId, catId]
        is_crowd = [int(truth["iscrowd"]) for truth in truths]
        boundary_ious = rle_iou(
            boundaries.found, [boundaries.true[truth["id"]] for truth in truths], is_crowd
        )
        both = np.minimum(mask_ious, boundary_ious)
        return np.where(np.asarray(is_crowd, np.bool_)[None, :], mask_ious, both)

    def _of_pair(self, pair: tuple[Any, Any]) -> "_Boundaries":
        detections = self._found[pair]
        # The order and the number that the overlaps of super() are in.
        order = np.argsort([-d["score"] for d in detections], kind="mergesort")
        found = [detections[i]["segmentation"] for i in order[: self.params.maxDets[-1]]]
        true = {truth["id"]: truth["segmentation"] for truth in self._truths[pair]}
        return _Boundaries(
            [rle_boundary(rle, self._dilation) for rle in found],
            {number: rle_boundary(rle, self._dilation) for number, rle in true.items()},
        )


class _Boundaries(NamedTuple):
    """The boundaries of one category on one image: of detections, best first, and of objects."""

    found: list[Rle]
    true: dict[int, Rle]
