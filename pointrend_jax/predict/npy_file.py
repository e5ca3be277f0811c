"""Parts of .npy files, read and written by memory maps: memory stays that of the part.

A file is mapped anew for every part, because the pages that a map has touched count as the
process's memory for as long as the map is there.
"""

import os
import tokenize
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from numpy.lib.format import open_memmap

# Images that may be larger than the memory.
ARRAY = ".npy"

# numpy parses the header as a Python literal.
_HEADER_ERRORS = (
    *(ValueError, TypeError, SyntaxError, LookupError, ArithmeticError, AttributeError),
    *(RuntimeError, MemoryError, tokenize.TokenError),
)

Window = tuple[slice, slice]


class NpyImage:
    """A uint8 [H, W, 3] .npy file: `image[y0:y1, x0:x1]` reads that part.

    Raises: ValueError if the file is not such an array.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        pixels = self._mapped()
        shape, ordered = pixels.shape, pixels.flags.c_contiguous
        if (
            not ordered
            or pixels.dtype != np.uint8
            or len(shape) != 3
            or shape[2] != 3
            or 0 in shape
        ):
            order = "C" if ordered else "Fortran"
            raise ValueError(
                f"{path} must hold a uint8 [height, width, 3] array in C order and RGB, got "
                f"{str(pixels.dtype)[:100]} {str(shape)[:100]} in {order} order."
            )
        self.shape, self.dtype = shape, pixels.dtype

    def __getitem__(self, window: Window) -> UInt8[np.ndarray, "h w 3"]:
        return np.array(self._mapped()[window])

    def _mapped(self) -> np.memmap:
        try:
            # A shape beyond 64 bits is an error of the file, not a warning.
            with np.errstate(over="raise"):
                return open_memmap(self._path, mode="r")
        except OSError as error:
            raise ValueError(
                f"{self._path} cannot be read ({error.strerror}); check the path."
            ) from error
        except _HEADER_ERRORS as error:
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
