"""Parts of .npy files, read and written by memory maps: memory stays that of the part.

A file is mapped anew for every part, because the pages that a map has touched count as the
process's memory for as long as the map is there.
"""

import os
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Num, UInt8
from numpy.lib.format import open_memmap

from pointrend_jax.data.bands import NPY_ERRORS
from pointrend_jax.pixel_format import PHOTO, PixelFormat, check_finite

# Images that may be larger than the memory.
ARRAY = ".npy"

Window = tuple[slice, slice]


class NpyImage:
    """A [H, W, C] .npy file (of one channel [H, W] too): `image[y0:y1, x0:x1]` reads that part.

    Of any byte order, in C or Fortran order, as those that are trained on.
    Raises: ValueError if the file is not such an array, or a part has values that are no numbers.
    """

    def __init__(self, path: Path, pixels: PixelFormat = PHOTO) -> None:
        """Args: pixels, what the image must have."""
        self._path = path
        mapped = self._mapped()
        shape, dtype = mapped.shape, mapped.dtype.newbyteorder("=")
        channels = shape[2:] or (1,)
        if (
            dtype != pixels.dtype
            or len(shape) not in (2, 3)
            or channels != (pixels.channels,)
            or 0 in shape
        ):
            raise ValueError(
                f"{path} must hold a {pixels}, got {str(mapped.dtype)[:100]} {str(shape)[:100]}."
            )
        self.shape, self.dtype = (*shape[:2], *channels), dtype

    def __getitem__(self, window: Window) -> Num[np.ndarray, "h w C"]:
        part = np.array(self._mapped()[window], self.dtype, order="C")
        part = part.reshape(*part.shape[:2], self.shape[2])
        check_finite(part, f"a part of {self._path}")
        return part

    def thinned(self, step: int) -> Num[np.ndarray, "h w C"]:
        """Every `step`-th row and column."""
        rows = range(0, self.shape[0], step)
        every = slice(0, self.shape[1])
        return np.concatenate([self[row : row + 1, every][:, ::step] for row in rows])

    def _mapped(self) -> np.memmap:
        try:
            # A shape beyond 64 bits is an error of the file, not a warning.
            with np.errstate(over="raise"):
                return open_memmap(self._path, mode="r")
        except OSError as error:
            raise ValueError(
                f"{self._path} cannot be read ({error.strerror}); check the path."
            ) from error
        except NPY_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise ValueError(
                f"{self._path} is no whole .npy file of numbers ({reason}); restore it."
            ) from error


class NpyLabels:
    """A new uint8 [H, W] .npy file: `labels[y0:y1, x0:x1] = part` writes that part.

    A context manager. The file has another name until it ends without an error: what stood there
    before is kept until then, and half of a label map is never taken for a whole one.

    Raises: ValueError if it cannot be written.
    """

    def __init__(self, path: Path, image_hw: tuple[int, int]) -> None:
        self.shape, self.dtype = image_hw, np.dtype(np.uint8)
        self._path, self._unfinished = path, path.with_name(f"{path.name}.unfinished")
        try:
            labels = open_memmap(self._unfinished, mode="w+", dtype=np.uint8, shape=image_hw)
            # A disk that is too small says so now; a page of a map would end the process later.
            if hasattr(os, "posix_fallocate"):
                with self._unfinished.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, labels.offset + labels.size)
        except OSError as error:
            self._unfinished.unlink(missing_ok=True)
            raise ValueError(
                f"{path} cannot be written ({error.strerror}); it needs "
                f"{image_hw[0] * image_hw[1] / 2**20:.0f} MiB."
            ) from error

    def __setitem__(self, window: Window, part: UInt8[np.ndarray, "h w"]) -> None:
        open_memmap(self._unfinished, mode="r+")[window] = part

    def thinned(self, step: int) -> UInt8[np.ndarray, "h w"]:
        """Every `step`-th row and column of the finished file."""
        return np.asarray(np.load(self._path, mmap_mode="r")[::step, ::step])

    def __enter__(self) -> "NpyLabels":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink(missing_ok=True)
