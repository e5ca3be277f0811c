"""Photos of which every program takes one: where none of the given ones does, a part of one."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from pointrend_jax.data.batches.transforms import padded_hw, resized_hw
from pointrend_jax.export.program import Canvases


class Programs:
    """Which of some programs an image goes to, as the reader (export/reader.py) chooses."""

    def __init__(self, canvases: Sequence[Canvases], *, min_size: int, max_size: int) -> None:
        """
        Args:
          canvases: of each program, in the reader's order.
          min_size, max_size: by which images are resized, in pixels.
        """
        self._canvases, self._sizes = canvases, (min_size, max_size)

    def of(self, hw: tuple[int, int]) -> Canvases | None:
        """That of an original image of (height, width) pixels; None if it is too large for all."""
        needed = padded_hw(resized_hw(hw, *self._sizes))
        for own in self._canvases:
            sides = (*own.largest, *own.network)
            if all(side <= most for side, most in zip((*hw, *needed), sides, strict=True)):
                return own
        return None

    def largest_images(self, own: Canvases) -> list[tuple[int, int]]:
        """Of the images that go to this program those as high or as wide as it takes.

        They have every shape that it is run with; without one it is never run.
        """
        high, wide = own.largest
        edge = [(high, width) for width in range(1, wide + 1)]
        edge += [(height, wide) for height in range(1, high)]
        return [hw for hw in edge if self.of(hw) == own]

    def photos(
        self, given: Sequence[np.ndarray], finds: Callable[[np.ndarray], bool]
    ) -> dict[str, np.ndarray]:
        """The given photos and parts of them by name, of which every program takes one.

        Args:
          given: at least one. finds: whether a model finds anything on a photo, which is preferred.
        Raises: ValueError for a program that no image goes to.
        """
        named = {f"photo {number}": photo for number, photo in enumerate(given)}
        taken = {self.of(_hw(photo)) for photo in given}
        for own in self._canvases:
            if own in taken:
                continue
            sizes = self.largest_images(own)
            if not sizes:
                raise ValueError(f"no image goes to the program of {own}; leave that canvas out.")
            parts = (self._part(photo, own, sizes) for photo in given)
            tried = []
            for number, part in enumerate(parts):
                tried.append((number, part))
                if finds(part):
                    break
            else:
                tried = tried[:1]
            number, part = tried[-1]
            named[f"a part of photo {number}, {part.shape[0]} x {part.shape[1]} pixels"] = part
        return named

    def _part(
        self, photo: np.ndarray, own: Canvases, sizes: Sequence[tuple[int, int]]
    ) -> np.ndarray:
        """The middle of a photo in the shape that leaves most of it, for this program; enlarged or
        made smaller where it must be."""
        height, width = _hw(photo)

        def kept(hw: tuple[int, int]) -> tuple[int, int]:
            scale = min(height / hw[0], width / hw[1])
            return max(int(scale * hw[0]), 1), max(int(scale * hw[1]), 1)

        size = max(sizes, key=lambda hw: np.prod(kept(hw)))
        high, wide = kept(size)
        top, left = (height - high) // 2, (width - wide) // 2
        part = photo[top : top + high, left : left + wide]
        if self.of((high, wide)) == own:
            return part
        return np.asarray(
            Image.fromarray(part).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        )


def _hw(photo: np.ndarray) -> tuple[int, int]:
    return photo.shape[0], photo.shape[1]
