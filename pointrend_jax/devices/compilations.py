"""What a program is compiled for, said while it is waited for, and how long that took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

from pointrend_jax.console import waiting_for


class Compilations:
    """The shapes that a program has met, and so what it was compiled for.

    Attributes:
      seconds: how long the calls with new shapes took until they returned: tracing, and compiling
        or reading from the compilation cache. The device computes later.
    """

    def __init__(self, what: str) -> None:
        """Args: what, the program in words."""
        self._what, self.seconds = what, 0.0
        self._met: set[Any] = set()
        self._canvases: list[tuple[int, ...]] = []

    @contextmanager
    def of(self, batch: Any, num_canvases: int, detail: str = "") -> Iterator[None]:
        """Around a call with `batch`, whose `images` are [..., H, W, C].

        Args:
          num_canvases: that there are.
          detail: what else the program depends on, which is said where it is another one.
        """
        met = detail, tuple(x.shape for x in jax.tree.leaves(batch))
        if met in self._met:
            yield
            return
        self._met.add(met)
        canvas = tuple(batch.images.shape[-3:-1])
        again = f", {detail or 'other shapes'}" if canvas in self._canvases else ""
        if not again:
            self._canvases.append(canvas)
        number, (height, width) = self._canvases.index(canvas) + 1, canvas
        of = f"canvas {number} of {max(num_canvases, number)}"
        start = time.monotonic()
        with waiting_for(f"compiling {self._what} for {height}x{width} ({of}{again})"):
            yield
        self.seconds += time.monotonic() - start
