"""Label maps of images of any size, predicted in overlapping tiles and streamed.

Tiles begin at multiples of 32 pixels, so that the cells of every map lie as in the whole image, and
all have one canvas: one program. Where two overlap, each gives the half that is its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from pointrend_jax.console import watched
from pointrend_jax.data.batches.transforms import SIZE_DIVISIBILITY, padded_hw, place_image
from pointrend_jax.pixel_format import PHOTO, PixelFormat, check_finite
from pointrend_jax.structures import Array, ImageBatch
from pointrend_jax.workers import held_back


@runtime_checkable
class PixelSource(Protocol):
    """An image [H, W, C], of which parts can be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: tuple[slice, slice], /) -> Any: ...


@runtime_checkable
class LabelSink(Protocol):
    """uint8 [H, W], of which parts can be written."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __setitem__(self, key: tuple[slice, slice], value: Any, /) -> None: ...


class Tile(NamedTuple):
    """A tile of one axis, in pixels: it sees [start, end) and gives the labels of [first, last)."""

    start: int
    end: int
    first: int
    last: int


class Tiling(NamedTuple):
    """tile_hw: (height, width) in pixels. overlap: of neighbours, in pixels."""

    tile_hw: tuple[int, int]
    overlap: int

    @classmethod
    def checked(cls, tile_hw: tuple[int, int], overlap: int) -> "Tiling":
        """Raises: ValueError unless such tiles lie on whole cells and advance."""
        if min(tile_hw) < SIZE_DIVISIBILITY or any(side % SIZE_DIVISIBILITY for side in tile_hw):
            raise ValueError(
                f"a tile must have sides that are positive multiples of {SIZE_DIVISIBILITY} "
                f"pixels, got {tuple(tile_hw)}; round them."
            )
        if overlap < 0 or overlap % SIZE_DIVISIBILITY or 2 * overlap > min(tile_hw):
            raise ValueError(
                f"tiles of {tuple(tile_hw)} pixels must overlap by a multiple of "
                f"{SIZE_DIVISIBILITY} from 0 to half of their shorter side, got {overlap}."
            )
        return cls(tile_hw, overlap)

    def along(self, axis: int, length: int) -> list[Tile]:
        """The tiles of an axis of `length` pixels: each pixel is given by exactly one."""
        side = self.tile_hw[axis]
        # The last tile ends with the image, but for the rest of a cell.
        last_start = -(-max(length - side, 0) // SIZE_DIVISIBILITY) * SIZE_DIVISIBILITY
        starts = [*range(0, last_start, side - self.overlap), last_start]
        ends = [min(start + side, length) for start in starts]
        cuts = [(a + b) // 2 for a, b in zip(starts[1:], ends[:-1], strict=True)]
        return [Tile(*each) for each in zip(starts, ends, [0, *cuts], [*cuts, length], strict=True)]


def predict_tiles(
    predict: Callable[[ImageBatch], Array],
    image: PixelSource,
    tiling: Tiling,
    out: LabelSink | None,
    *,
    pixels: PixelFormat = PHOTO,
    progress: bool,
) -> LabelSink:
    """Reads, predicts and writes tile by tile; the next is read while one is predicted.

    Args:
      pixels: what the image must have.
      predict: from a batch of one tile to its labels, uint8 [1, H, W], perhaps still on their way.
    Raises: ValueError if `image` or `out` is of another type or shape, or, when its turn comes, a
      part of the image has values that are no numbers.
    """
    image_hw = _check(image, out, pixels)
    labels: LabelSink = np.empty(image_hw, np.uint8) if out is None else out
    rows, columns = tiling.along(0, image_hw[0]), tiling.along(1, image_hw[1])
    tiles = ((row, column) for row in rows for column in columns)
    if progress:
        tiles = watched(tiles, "predicting", total=len(rows) * len(columns), unit="tile")

    def predict_tile(tile: tuple[Tile, Tile]) -> Array:
        row, column = tile
        part = np.asarray(image[row.start : row.end, column.start : column.end])
        check_finite(part, f"the part of the image at row {row.start}, column {column.start}")
        return predict(_batch(part, tiling.tile_hw))

    for (row, column), predicted in held_back(((tile, predict_tile(tile)) for tile in tiles), 1):
        own = slice(row.first - row.start, row.last - row.start)
        own_columns = slice(column.first - column.start, column.last - column.start)
        part = np.asarray(predicted)[0, own, own_columns]
        labels[row.first : row.last, column.first : column.last] = part
    return labels


def _batch(part: np.ndarray, tile_hw: tuple[int, int]) -> ImageBatch:
    height, width = part.shape[:2]
    return ImageBatch(
        images=place_image(part, tile_hw)[None],
        image_hw=np.array([[height, width]], np.int32),
        padded_hw=np.array([padded_hw((height, width))], np.int32),
        valid=np.ones(1, bool),
    )


def _check(image: PixelSource, out: LabelSink | None, pixels: PixelFormat) -> tuple[int, int]:
    """(height, width) of the image."""
    if not isinstance(image, PixelSource):
        raise ValueError(
            f"the image must be a {pixels}, or something with shape, "
            f"dtype and parts, got {type(image).__name__}; make an array of it with np.asarray."
        )
    shape = tuple(image.shape)
    dtype = np.dtype(image.dtype)
    if len(shape) != 3 or shape[2] != pixels.channels or min(shape) < 1 or dtype != pixels.dtype:
        raise ValueError(f"the image must be a {pixels}, got {dtype} {shape}.")
    if out is not None and (tuple(out.shape) != shape[:2] or np.dtype(out.dtype) != np.uint8):
        raise ValueError(
            f"out must be uint8 {shape[:2]}, the height and width of the image, got "
            f"{np.dtype(out.dtype)} {tuple(out.shape)}."
        )
    return shape[0], shape[1]
