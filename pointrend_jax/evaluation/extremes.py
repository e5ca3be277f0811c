"""The images that a model does best and worst on, which are worth a look."""

import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from pointrend_jax.evaluation.results import Details, check_disjoint

# Of each kind that are shown.
SHOWN = 4


class Extremes(NamedTuple):
    """Image ids, the very best and the very worst first; no image is in both."""

    best: tuple[int, ...]
    worst: tuple[int, ...]


def extremes(qualities: Mapping[int, float], number: int = SHOWN) -> Extremes:
    """The first and the last by quality, `number` of each, or half of the images if they are few.

    Args:
      qualities: by image id; higher is better, of equals the lower id comes first.
    """
    order = _in_order(qualities)
    half = min(number, -(-len(order) // 2))
    return Extremes(tuple(order[:half]), tuple(order[half:][::-1][:number]))


def extremes_in_words(
    qualities: Mapping[int, float], name: Callable[[int], str], measure: str
) -> Details:
    """The details of `extremes`: "best" and "worst", each with its name and quality.

    Args:
      name: of an image, by its id.
      measure: what the qualities are.
    """
    lists = extremes(qualities)._asdict()
    return {
        "images": {"measure": measure, "scored": len(qualities)}
        | {
            which: [{"id": i, "name": name(i), "quality": round(qualities[i], 4)} for i in ids]
            for which, ids in lists.items()
        }
    }


class KeptMaps:
    """The predicted label maps of the best and the worst images so far; others are let go.

    The order in which images come changes nothing.
    """

    def __init__(self, number: int = SHOWN) -> None:
        self._number, self._lock = number, threading.Lock()
        self._kept: dict[int, tuple[float, np.ndarray]] = {}

    def offer(self, image_id: int, quality: float, labels: np.ndarray) -> None:
        """Keeps a copy of the map if the image is among them. Several threads may offer."""
        with self._lock:
            order = _in_order({i: kept[0] for i, kept in self._kept.items()} | {image_id: quality})
            chosen = {*order[: self._number], *order[-self._number :]}
            if image_id in chosen:
                # The map may be a part of a whole batch.
                self._kept[image_id] = quality, labels.copy()
            for i in self._kept.keys() - chosen:
                del self._kept[i]

    def __getitem__(self, image_id: int) -> np.ndarray:
        return self._kept[image_id][1]

    @property
    def parts(self) -> dict[int, tuple[float, np.ndarray]]:
        """What is kept, for `merge` of its like in another process."""
        return self._kept

    def merge(self, parts: dict[int, tuple[float, np.ndarray]]) -> None:
        """Adds the maps of another process. Raises ValueError if both have an image."""
        check_disjoint(self._kept, parts)
        for image_id, (quality, labels) in parts.items():
            self.offer(image_id, quality, labels)


def _in_order(qualities: Mapping[int, float]) -> list[int]:
    return sorted(qualities, key=lambda i: (-qualities[i], i))
