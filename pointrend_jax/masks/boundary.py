"""The boundary of a mask: the part of it within some distance of its outline. In numpy alone.

Cheng et al., "Boundary IoU" (2021): how well two outlines agree, whatever the size of the object.
"""

import numpy as np
from jaxtyping import Bool


def boundary_iou(
    mask: Bool[np.ndarray, "H W"], other: Bool[np.ndarray, "H W"], dilation: float = 0.02
) -> float:
    """Intersection over union of the two boundaries; 0 if neither has one.

    Args:
      dilation: the width of a boundary as a share of the image's diagonal; 0.02 for COCO and LVIS.
    """
    boundary, of_other = mask_boundary(mask, dilation), mask_boundary(other, dilation)
    union = np.count_nonzero(boundary | of_other)
    return np.count_nonzero(boundary & of_other) / union if union else 0.0


def boundary_width(image_hw: tuple[int, int], dilation: float) -> int:
    """Pixels of the boundary band: `dilation` times the diagonal of the image, at least 1."""
    return max(1, round(dilation * float(np.hypot(*image_hw))))


def mask_boundary(mask: Bool[np.ndarray, "H W"], dilation: float) -> Bool[np.ndarray, "H W"]:
    """The pixels of the mask within `boundary_width` of a pixel outside it (chessboard distance).

    Beyond the image counts as outside, so a mask cut by the border has a boundary there.

    Source: boundary_utils.py of the authors' boundary-iou-api.
    """
    return boundary_within(mask, boundary_width(mask.shape, dilation))


def boundary_within(mask: Bool[np.ndarray, "H W"], distance: int) -> Bool[np.ndarray, "H W"]:
    """The pixels of the mask within `distance` of a pixel outside it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    boundary = np.zeros_like(mask)
    if rows.size:
        # Around its bounding box a mask is zero, as beyond the image: eroding the window of the box
        # is the same and costs less.
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inner = mask[window]
        boundary[window] = inner & ~_eroded_rows(_eroded_rows(inner, distance).T, distance).T
    return boundary


def _eroded_rows(mask: Bool[np.ndarray, "h w"], distance: int) -> Bool[np.ndarray, "h w"]:
    """True where all rows within `distance` are; beyond the array nothing is.

    Whole rows are combined, by runs of 1, 2, 4 .. of them, so the cost hardly follows `distance`.
    """
    height, length = len(mask), 2 * distance + 1
    if length > height:
        return np.zeros_like(mask)
    # runs[i] is the conjunction of `reach` rows from i on.
    runs, reach = mask, 1
    while 2 * reach <= length:
        runs, reach = runs[:-reach] & runs[reach:], 2 * reach
    left = length - reach
    runs = runs[: len(runs) - left] & runs[left:]
    eroded = np.zeros_like(mask)
    eroded[distance : height - distance] = runs
    return eroded
