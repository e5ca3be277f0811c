"""Comparing two lists of boxes whose order may differ where scores are close."""

from collections.abc import Iterator

import numpy as np

from parity.compare import Row, row

# boxes [n, 4], scores [n], classes [n].
Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]


def detections_of(golden: dict[str, np.ndarray], group: str) -> Boxes:
    """The boxes, scores and classes of a group of a golden file ("det", "out")."""
    return golden[f"{group}/boxes"], golden[f"{group}/scores"], golden[f"{group}/classes"]


def proposals_of(golden: dict[str, np.ndarray], group: str) -> Boxes:
    """Boxes and logits; proposals have no class."""
    boxes = golden[f"{group}/boxes"]
    return boxes, golden[f"{group}/logits"], np.zeros(len(boxes))


def match(ours: Boxes, golden: Boxes, min_iou: float = 0.9) -> list[tuple[int, int]]:
    """Pairs (ours, golden) of equal class and IoU above `min_iou`, best IoU first, each once."""
    iou = _iou(ours[0], golden[0]) * (ours[2][:, None] == golden[2][None])
    pairs: list[tuple[int, int]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for flat in np.argsort(-iou, axis=None, kind="stable"):
        i, j = divmod(int(flat), iou.shape[1])
        if iou[i, j] <= min_iou:
            break
        if i not in taken[0] and j not in taken[1]:
            pairs.append((i, j))
            taken[0].add(i)
            taken[1].add(j)
    return pairs


def matched_rows(
    file: str,
    name: str,
    ours: Boxes,
    golden: Boxes,
    *,
    score_tolerance: float,
    unmatched: float,
    box_tolerance: float = 0.2,
) -> Iterator[Row]:
    """Numbers that found no partner (at most the part `unmatched`), scores, boxes in pixels."""
    pairs = match(ours, golden)
    allowed = np.floor(unmatched * len(golden[0]))
    left = max(len(golden[0]), len(ours[0])) - len(pairs)
    yield row(file, f"{name} without partner", left, 0, allowed)
    index = np.array(pairs, np.int64).reshape(-1, 2)
    scores = ours[1][index[:, 0]], golden[1][index[:, 1]]
    yield row(file, f"{name}: score", *scores, score_tolerance)
    boxes = ours[0][index[:, 0]], golden[0][index[:, 1]]
    yield row(file, f"{name}: box, px", *boxes, box_tolerance)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    return shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-9)
