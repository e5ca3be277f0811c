"""Label maps of TIFF files as GeoTIFF, part by part, and their polygons as GeoJSON.

A label map lies where its image lies: the same transform and coordinate system. The memory is that
of a part, and of the polygons that are found.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from pointrend_jax.data.rasters import RasterImage, Window, raster_errors, rasterio
from pointrend_jax.structures import IGNORE_LABEL

# Longitude and latitude in degrees, as GeoJSON has them (RFC 7946, section 4), to a centimetre.
_DEGREES, _PLACES = "OGC:CRS84", 7
# Polygons that are placed by one call.
_AT_ONCE = 1000
# px, a multiple of 16, which TIFF asks for.
_BLOCK = 256


class RasterLabels:
    """A new uint8 GeoTIFF of labels: `labels[y0:y1, x0:x1] = part` writes that part.

    Pixels that are missing in every channel of the image are `IGNORE_LABEL`, which the file
    declares as missing too. A context manager. The file has another name until it ends without an
    error and all of it was read back.

    Raises: ValueError if it cannot be written, in the end too: GDAL writes some when it closes.
    """

    def __init__(self, path: Path, image: RasterImage) -> None:
        self.shape, self.dtype = image.shape[:2], np.dtype(np.uint8)
        self._path, self._unfinished = path, path.with_name(f"{path.name}.unfinished")
        self._image = image
        points, crs = image.gcps
        place = {"crs": image.crs, "transform": image.transform}
        if points:
            place = {"gcps": points, "crs": crs}
        if image.rpcs is not None:
            place["rpcs"] = image.rpcs
        try:
            self._file = rasterio().open(
                self._unfinished, "w", driver="GTiff", dtype="uint8", count=1,
                height=self.shape[0], width=self.shape[1], nodata=IGNORE_LABEL, **place,
                compress="deflate", tiled=True, blockxsize=_BLOCK, blockysize=_BLOCK,
                BIGTIFF="IF_SAFER",
            )  # fmt: skip
            # GDAL has moved control points to pixels of an area, and would not move them back.
            if image.is_point and not points:
                self._file.update_tags(AREA_OR_POINT="Point")
        except raster_errors() as error:
            self._unfinished.unlink(missing_ok=True)
            raise ValueError(f"{path} cannot be written ({error}).") from error

    def __setitem__(self, window: Window, part: UInt8[np.ndarray, "h w"]) -> None:
        void = self._image.void(window)
        if void is not None:
            part = np.where(void, np.uint8(IGNORE_LABEL), part)
        sides = [(side.start, side.stop) for side in window]
        try:
            self._file.write(part, 1, window=tuple(sides))
        except raster_errors() as error:
            raise ValueError(self._not_whole(error)) from error

    def thinned(self, step: int) -> UInt8[np.ndarray, "h w"]:
        """About every `step`-th row and column of the finished file, as `RasterImage.thinned`."""
        height, width = self.shape
        with rasterio().open(self._path, driver="GTiff") as file:
            return file.read(1, out_shape=(-(-height // step), -(-width // step)))

    def __enter__(self) -> "RasterLabels":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                _check_whole(self._unfinished)
                self._unfinished.replace(self._path)
        except raster_errors() as failure:
            # What ended the block before is told instead.
            if kind is None:
                raise ValueError(self._not_whole(failure)) from failure
        finally:
            self._unfinished.unlink(missing_ok=True)

    def _not_whole(self, error: Exception) -> str:
        return f"{self._path} could not be written whole ({error}); free some space."


def _check_whole(path: Path) -> None:
    """Raises what rasterio does, or OSError, if a block of a label map is not there or damaged."""
    with rasterio().open(path, driver="GTiff") as file:
        for (row, column), window in file.block_windows(1):
            # A block that never reached the disk would be read as missing, without an error.
            if file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", 1) is None:
                raise OSError(f"its block {row}, {column} is not there")
            file.read(1, window=window)


def check_places(image: RasterImage) -> None:
    """Raises ValueError if polygons of the image cannot be placed on the earth."""
    if image.gcps[0]:
        raise ValueError(
            f"{image.name} is placed by control points, and polygons need a transform: warp it "
            "first (gdalwarp FILE WARPED), or leave geojson out of --format."
        )
    if image.transform.is_identity and image.rpcs is not None:
        raise ValueError(
            f"{image.name} is placed by RPCs (rational polynomials) alone, and polygons need a "
            "transform: warp it first (gdalwarp -rpc -t_srs EPSG:32633 FILE WARPED, with -to "
            "RPC_DEM=HEIGHTS where the ground is not flat), or leave geojson out of --format."
        )
    if image.transform.is_identity:
        raise ValueError(
            f"{image.name} does not say where it lies itself (files beside it are not read), and "
            "GeoJSON has degrees: put its place into the file (gdal_translate FILE WHOLE does so "
            "of files beside it), or leave geojson out of --format."
        )
    if image.crs is None:
        raise ValueError(
            f"{image.name} says no coordinate system (CRS) itself (files beside it are not read), "
            "and GeoJSON has degrees: assign one "
            "(gdal_edit.py -a_srs EPSG:32633 FILE), or leave geojson out of --format."
        )
    # The corners and the middle: a picture of the whole earth has corners that are not on it.
    height, width = image.shape[:2]
    places = [(0, 0), (width, 0), (0, height), (width, height), (width / 2, height / 2)]
    for place in places[:-1]:
        with suppress(ValueError):
            _degrees(image.crs, np.array([image.transform * place]))
            return
    _degrees(image.crs, np.array([image.transform * places[-1]]))


def write_geojson(labels: Path, output: Path, class_names: Sequence[str]) -> int:
    """The connected areas of each class of a label map as polygons with holes; their number.

    Outlines follow the borders of pixels, so the polygons are the label map.

    Args:
      labels: a GeoTIFF that `RasterLabels` wrote, with a coordinate system.
    Raises: ValueError if a polygon has no longitude and latitude, or the file cannot be written.
    """
    unfinished, number = output.with_name(f"{output.name}.unfinished"), 0
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write('{"type": "FeatureCollection", "features": [')
            for geometry, label in _areas(labels):
                properties = {"class_id": label, "class_name": class_names[label]}
                feature = {"type": "Feature", "properties": properties, "geometry": geometry}
                file.write(("," if number else "") + "\n" + json.dumps(feature))
                number += 1
            file.write("\n]}\n")
        unfinished.replace(output)
    except OSError as error:
        raise ValueError(f"{output} cannot be written ({error.strerror}).") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return number


def _areas(labels: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Polygons in degrees, each with its label."""
    module = rasterio()
    with module.open(labels, driver="GTiff") as source:
        areas = module.features.shapes(module.band(source, 1))
        known = ((shape, int(value)) for shape, value in areas if int(value) != IGNORE_LABEL)
        while some := list(islice(known, _AT_ONCE)):
            placed = _in_degrees(source.crs, [shape["coordinates"] for shape, _ in some])
            for rings, (_, label) in zip(placed, some, strict=True):
                yield {"type": "Polygon", "coordinates": rings}, label


def _in_degrees(crs: Any, polygons: Sequence[Sequence[Any]]) -> Iterator[list[Any]]:
    """Polygons of a coordinate system, each its outline and then its holes, point by point.

    All points in one call, as rasterio's own transformation of polygons goes one by one. Polygons
    are not cut where longitudes begin anew.
    """
    rings = [np.asarray(ring, np.float64) for polygon in polygons for ring in polygon]
    points = np.round(_degrees(crs, np.concatenate(rings)), _PLACES)
    placed = iter(np.split(points, np.cumsum([len(ring) for ring in rings])[:-1]))
    for polygon in polygons:
        yield [_wound(next(placed), is_hole=place > 0) for place in range(len(polygon))]


def _degrees(crs: Any, points: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, "P 2"]:
    """Longitudes and latitudes. Raises ValueError, naming the system, if a point has none."""
    why: Exception | str = "a point is not on the earth"
    try:
        degrees = np.stack(rasterio().warp.transform(crs, _DEGREES, *points.T), axis=1)
        if np.isfinite(degrees).all():
            return degrees
    except raster_errors() as error:
        why = error
    raise ValueError(
        f"the coordinate system {crs.to_string()[:200]} has no longitude and latitude at a place "
        f"of the image ({str(why)[:200]}): warp it to another one (gdalwarp -t_srs EPSG:32633 FILE "
        "WARPED), or leave geojson out of --format."
    )


def _wound(ring: Float[np.ndarray, "P 2"], *, is_hole: bool) -> list[list[float]]:
    """An outline against the clock, a hole with it, as RFC 7946 asks (section 3.1.6)."""
    x, y = (ring - ring[0]).T
    against_clock = np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) > 0
    return (ring if against_clock != is_hole else ring[::-1]).tolist()
