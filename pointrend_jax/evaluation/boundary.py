"""Boundary IoU: how well the outlines agree, whatever the size of the object.

Cheng et al., "Boundary IoU" (2021). The boundary of a mask is the part of it within some distance
of its outline; an overlap counts as min(mask IoU, boundary IoU). Matching and averaging stay those
of pycocotools.
"""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pointrend_jax.evaluation.rle import Rle, decode_rle, encode_mask, rle_iou

_KERNEL = np.ones((3, 3), np.uint8)


def boundary_width(image_hw: tuple[int, int], dilation: float) -> int:
    """Pixels of the boundary band: `dilation` times the diagonal of the image, at least 1."""
    return max(1, round(dilation * float(np.hypot(*image_hw))))


def mask_boundary(mask: Bool[np.ndarray, "H W"], dilation: float) -> Bool[np.ndarray, "H W"]:
    """The pixels of the mask within `boundary_width` of a pixel outside it (chessboard distance).

    Beyond the image counts as outside, so a mask cut by the border has a boundary there.

    Source: boundary_utils.py of the authors' boundary-iou-api.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    boundary = np.zeros_like(mask)
    if rows.size:
        # Around its bounding box a mask is zero, as beyond the image: eroding the window of the box
        # is the same and costs less.
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        padded = np.pad(mask[window].astype(np.uint8), 1)
        eroded = cv2.erode(padded, _KERNEL, iterations=boundary_width(mask.shape, dilation))
        boundary[window] = mask[window] & (eroded[1:-1, 1:-1] == 0)
    return boundary


class BoundaryCocoEval(COCOeval):
    """pycocotools' evaluation of masks with min(mask IoU, boundary IoU); crowds by mask IoU alone.

    A subclass because pycocotools offers no other place for an overlap of one's own.
    """

    def __init__(self, ground_truth: COCO, detections: COCO, *, dilation: float) -> None:
        super().__init__(ground_truth, detections, "segm")
        self._dilation = dilation

    def computeIoU(self, imgId: Any, catId: Any) -> Any:
        mask_ious = super().computeIoU(imgId, catId)
        if len(mask_ious) == 0:
            return mask_ious
        # The stubs of pycocotools leave these two out.
        truths = self._gts[imgId, catId]  # pyright: ignore[reportAttributeAccessIssue]
        detections = self._dts[imgId, catId]  # pyright: ignore[reportAttributeAccessIssue]
        # The order and the number that the overlaps of super() are in.
        order = np.argsort([-d["score"] for d in detections], kind="mergesort")
        order = order[: self.params.maxDets[-1]]
        is_crowd = [int(truth["iscrowd"]) for truth in truths]
        boundary_ious = rle_iou(
            [self._boundary(detections[i]["segmentation"]) for i in order],
            [self._boundary(truth["segmentation"]) for truth in truths],
            is_crowd,
        )
        both = np.minimum(mask_ious, boundary_ious)
        return np.where(np.asarray(is_crowd, np.bool_)[None, :], mask_ious, both)

    def _boundary(self, rle: Rle) -> Rle:
        return encode_mask(mask_boundary(decode_rle(rle), self._dilation))
