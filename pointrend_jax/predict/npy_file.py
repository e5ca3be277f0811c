"""Parts of .npy files, read and written without a mapping: memory stays that of the part.

`np.memmap` would do as well, but the pages it has touched count as the process's memory.
"""

import math
import os
import tokenize
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

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

    Raises: ValueError if the file is not such an array. A context manager; closes the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise ValueError(
                f"{path} cannot be read ({error.strerror}); check the path."
            ) from error
        try:
            self.shape = _read_shape(self._file, path)
            self._start = self._file.tell()
            expected = self._start + math.prod(self.shape)
            if os.fstat(self._file.fileno()).st_size < expected:
                raise ValueError(f"{path} ends before its array does; restore it.")
        except ValueError:
            self._file.close()
            raise
        self.dtype = np.dtype(np.uint8)
        self._path = path

    def __getitem__(self, window: Window) -> UInt8[np.ndarray, "h w 3"]:
        rows, columns = _ranges(window, self.shape)
        part = np.empty((len(rows), len(columns), self.shape[2]), np.uint8)
        for i, row in enumerate(rows):
            self._file.seek(self._start + (row * self.shape[1] + columns.start) * self.shape[2])
            if self._file.readinto(part[i].reshape(-1).data) != part[i].size:
                raise ValueError(f"{self._path} ends before its array does; restore it.")
        return part

    def __enter__(self) -> "NpyImage":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()


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
            self._create(image_hw)
        except OSError as error:
            self._unfinished.unlink(missing_ok=True)
            raise ValueError(
                f"{path} cannot be written ({error.strerror}); it needs "
                f"{image_hw[0] * image_hw[1] / 2**20:.0f} MiB."
            ) from error

    def _create(self, image_hw: tuple[int, int]) -> None:
        self._file = self._unfinished.open("wb")
        header = {"descr": "|u1", "fortran_order": False, "shape": image_hw}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()
        # Its full size from the beginning: a disk that is too small says so now.
        self._file.flush()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), 0, self._start + image_hw[0] * image_hw[1])
        else:
            self._file.truncate(self._start + image_hw[0] * image_hw[1])

    def __setitem__(self, window: Window, part: UInt8[np.ndarray, "h w"]) -> None:
        rows, columns = _ranges(window, self.shape)
        if part.shape != (len(rows), len(columns)):
            raise ValueError(
                f"a part of shape {part.shape} does not fit {len(rows)} rows and {len(columns)} "
                "columns."
            )
        for i, row in enumerate(rows):
            self._file.seek(self._start + row * self.shape[1] + columns.start)
            self._file.write(np.ascontiguousarray(part[i]).data)

    def __enter__(self) -> "NpyLabels":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink(missing_ok=True)


def _read_shape(file: BinaryIO, path: Path) -> tuple[int, int, int]:
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read(file)
    except _HEADER_ERRORS as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise ValueError(f"{path} is no .npy file ({reason}).") from error
    if fortran_order or dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        order = "Fortran" if fortran_order else "C"
        raise ValueError(
            f"{path} must hold a uint8 [height, width, 3] array in C order and RGB, got "
            f"{str(dtype)[:100]} {str(shape)[:100]} in {order} order."
        )
    return shape


def _ranges(window: Window, shape: tuple[int, ...]) -> tuple[range, range]:
    rows, columns = (
        range(*part.indices(length)) for part, length in zip(window, shape[:2], strict=True)
    )
    if rows.step != 1 or columns.step != 1:
        raise ValueError("parts of a .npy file have a step of 1.")
    return rows, columns
