"""TIFF files, of which parts can be read; GeoTIFF with where they lie on the earth.

Read by GDAL through rasterio, an extra of the package that is imported when a file needs it.
Only GDAL's driver of TIFF is used, and nothing that lies beside a file is read (.aux.xml, .tfw,
.rpb, .msk): no file leads to another one, and a file is the same by its path and by its content.
"""

import math
import os
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Bool, Num

from pointrend_jax.data.tiff_tags import ORIENTATION, PHOTOMETRIC, TURNED, WHITE_IS_ZERO, tags_of
from pointrend_jax.pixel_format import DTYPES, PixelFormat, check_finite

SUFFIXES = (".tif", ".tiff")
# MiB that GDAL keeps of what it has decoded; its default is a twentieth of the machine's memory.
_CACHE_MIB = "64"
_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}

Window = tuple[slice, slice]
PixelsAndMissing = tuple[Num[np.ndarray, "H W C"], Bool[np.ndarray, "H W C"] | None]
_ALL = (slice(None), slice(None))


def rasterio() -> Any:
    """The module. Raises ValueError, saying what to install, if it is not there."""
    os.environ.setdefault("GDAL_CACHEMAX", _CACHE_MIB)
    try:
        import rasterio
        import rasterio._err
        import rasterio.errors
        import rasterio.features
        import rasterio.warp
    except ImportError as error:
        raise ValueError(
            "TIFF files of other pixels than photos have, and GeoTIFF, are read with rasterio: "
            "pip install 'pointrend_jax[geo]'."
        ) from error
    # A TIFF file need not lie anywhere on the earth. A filter that is set anew would make Python
    # forget which warnings it has shown.
    category = rasterio.errors.NotGeoreferencedWarning
    if ("ignore", None, category, None, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", category=category)
    return rasterio


def is_stored_rgb(path: Path) -> bool:
    """Whether the values of a TIFF file are those of an RGB photo, which need no conversion.

    Raises: ValueError if it cannot be read.
    """
    try:
        with rasterio().Env(**_ALONE), rasterio().open(path, driver="GTiff") as file:
            return file.dtypes == ("uint8",) * 3
    except raster_errors() as error:
        raise ValueError(_unreadable(str(path), error)) from error


def _unreadable(name: str, error: Exception) -> str:
    return f"{name} is no TIFF file that can be read ({error}); restore it."


def raster_errors() -> tuple[type[Exception], ...]:
    """What rasterio raises for a file or a place: its own, the system's, and GDAL's as they are."""
    module = rasterio()
    return (module.errors.RasterioError, OSError, module._err.CPLE_BaseError)


class RasterImage:
    """A TIFF file [H, W, C]: `image[y0:y1, x0:x1]` reads that part.

    A value that the file declares to be missing (nodata, or its mask) reads as the lower end of the
    format's range; of a photo as it is stored, as Pillow reads it. A scale and an offset that bands
    declare are not applied, nor is it undone that 0 is white, and a warning says so. A context
    manager; without, the file is closed when nothing refers to the image any more.

    Attributes:
      shape: (H, W, C). dtype: of numpy.
      crs, transform: of rasterio, where it lies on the earth; crs is None if the file has none.
      gcps: ground control points and their crs, of rasterio; none in most files.
      rpcs: rational polynomial coefficients, of rasterio, None in most files.
      is_point: whether the file says that a value is of a point, and not of its pixel's area.
    """

    def __init__(self, file: Path | str | bytes, pixels: PixelFormat, name: str = "") -> None:
        """Args: file, its path or content; name, what an error calls it, the path if "".

        Raises: ValueError if the file is no TIFF, of other channels or another type, or, but for
          photos, of several pages, or stored turned and placed nowhere.
        """
        self.name, self._memory = name or str(file), None
        self._source = self._opened(file)
        try:
            self._describe(file, pixels)
        except raster_errors() as error:
            self._close()
            raise ValueError(_unreadable(self.name, error)) from error
        except ValueError:
            self._close()
            raise

    def _describe(self, file: Path | str | bytes, pixels: PixelFormat) -> None:
        self.shape = (self._source.height, self._source.width, self._source.count)
        self.crs, self.transform = self._source.crs, self._source.transform
        missing = self._source.nodatavals
        self._missing = None if None in missing else np.asarray(missing)[:, None, None]
        self.gcps, self.rpcs = self._source.gcps, self._source.rpcs
        self.is_point = self._source.tags().get("AREA_OR_POINT") == "Point"
        flags = {flag.name for flag in self._source.mask_flag_enums[0]}
        self._has_mask = "per_dataset" in flags and "alpha" not in flags
        types = sorted(set(self._source.dtypes))
        self._check(types, pixels)
        if not pixels.is_photo:
            self._check_whole(tags_of(file))
        self.dtype = np.dtype(types[0])
        self._filler = None if pixels.is_photo else pixels.black

    def __getitem__(self, window: Window) -> Num[np.ndarray, "h w C"]:
        return self.with_missing(window)[0]

    def with_missing(self, window: Window) -> PixelsAndMissing:
        """A part, and which of its values are missing; None if the file declares nothing."""
        read, missing = self._read(window)
        part = np.ascontiguousarray(np.moveaxis(self._filled(read, missing), 0, 2))
        check_finite(part, self.name if window == _ALL else f"a part of {self.name}")
        return part, None if missing is None else np.moveaxis(missing, 0, 2)

    @property
    def is_placed(self) -> bool:
        """Whether the file itself says where its pixels lie."""
        # GDAL's own, where a file has none.
        return bool(self.gcps[0]) or self.rpcs is not None or not self.transform.is_identity

    def void(self, window: Window) -> Bool[np.ndarray, "h w"] | None:
        """Where every channel is missing; None if the file does not declare what is missing."""
        if self._missing is None and not self._has_mask:
            return None
        _, missing = self._read(window)
        return None if missing is None else np.asarray(missing.all(axis=0))

    def thinned(self, step: int) -> Num[np.ndarray, "h w C"]:
        """About every `step`-th row and column; what is missing is as in a part."""
        height, width = self.shape[:2]
        hw = (-(-height // step), -(-width // step))
        read = self._read((slice(0, height), slice(0, width)), hw)
        return np.moveaxis(self._filled(*read), 0, 2)

    def __enter__(self) -> "RasterImage":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._source.close()
        if self._memory is not None:
            self._memory.close()

    def _opened(self, file: Path | str | bytes) -> Any:
        module = rasterio()
        try:
            with module.Env(**_ALONE):
                if isinstance(file, bytes):
                    self._memory = module.MemoryFile(file)
                    return self._memory.open(driver="GTiff")
                return module.open(file, driver="GTiff")
        except raster_errors() as error:
            raise ValueError(_unreadable(self.name, error)) from error

    def _check(self, types: list[str], pixels: PixelFormat) -> None:
        interpretation = self._source.colorinterp[0].name
        if interpretation == "palette":
            raise ValueError(
                f"{self.name} has a palette, whose values are no intensities; save its colours."
            )
        if types != [pixels.dtype] or self.shape[2] != pixels.channels:
            others = "" if set(types) <= set(DTYPES) else "; convert it to one of these types"
            alpha = [band.name for band in self._source.colorinterp].count("alpha")
            if alpha:
                others += (
                    "; one of its bands is transparency (alpha), which counts: count it too, or "
                    "make it the file's mask (gdal_translate --config GDAL_TIFF_INTERNAL_MASK YES "
                    "-b 1 -b 2 -b 3 -mask 4 FILE MASKED)"
                )
            raise ValueError(
                f"{self.name} must be a {pixels}, got {', '.join(types)} {self.shape}: "
                f"config.data.channels is {pixels.channels} and config.data.dtype "
                f"{pixels.dtype!r} (of {', '.join(DTYPES)}){others}."
            )

    def _check_whole(self, tags: dict[int, int]) -> None:
        """Raises ValueError if the file is not the image as stored; warns if its values are not."""
        orientation = tags.get(ORIENTATION)
        if orientation in TURNED and not self.is_placed:
            raise ValueError(
                f"{self.name} says that it is stored turned or mirrored (the tag Orientation is "
                f"{orientation}), which is not undone: store it upright, without that tag."
            )
        pages = len(self._source.subdatasets)
        if pages:
            raise ValueError(
                f"{self.name} has {pages} pages, of which one alone would be read: save them as "
                "channels of one page (gdal_merge.py -separate), or as files of their own."
            )
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            warnings.warn(
                "TIFF files say that 0 is white (the tag PhotometricInterpretation), which is not "
                "undone: values are read as stored. Where other files of a set have 0 as black, "
                "invert them first.",
                stacklevel=2,
            )
        scaling = (self._source.scales, self._source.offsets)
        if set(scaling[0]) != {1.0} or set(scaling[1]) != {0.0}:
            # Python prints a warning of one text once.
            warnings.warn(
                f"TIFF files declare scales {scaling[0]} and offsets {scaling[1]}, which are not "
                "applied: values are read as stored, and config.data.value_range, channel_mean and "
                "channel_std are of these. Where files of a set declare different ones, apply "
                "them: gdal_translate -unscale -ot Float32 FILE UNSCALED.",
                stacklevel=2,
            )

    def _read(
        self, window: Window, hw: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Values [C, h, w], and which are missing. Args: hw, thinned to that height and width."""
        rows, columns = (
            part.indices(side)[:2] for part, side in zip(window, self.shape[:2], strict=True)
        )
        try:
            thin = (self.shape[2], *hw) if hw else None
            values = self._source.read(window=(rows, columns), out_shape=thin)
            missing = self._is_missing(values)
            if self._has_mask:
                mask = self._source.read_masks(1, window=(rows, columns), out_shape=hw)
                masked = np.broadcast_to(mask == 0, values.shape)
                missing = masked if missing is None else missing | masked
        except raster_errors() as error:
            raise ValueError(
                f"{self.name} is truncated or damaged ({error}); restore the file."
            ) from error
        return values, missing

    def _filled(self, values: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
        if missing is not None and self._filler is not None:
            values[missing] = self._filler
        return values

    def _is_missing(self, values: np.ndarray) -> Bool[np.ndarray, "C h w"] | None:
        if self._missing is None:
            return None
        if values.dtype.kind == "f" and any(math.isnan(value) for value in self._missing.flat):
            return np.isnan(values)
        # The value of missing pixels is a text in the file, which need not be a float32 exactly.
        missing = self._missing.astype(values.dtype) if values.dtype.kind == "f" else self._missing
        return values == missing
