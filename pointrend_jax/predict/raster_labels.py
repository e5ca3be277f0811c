"""Label maps of TIFF files as GeoTIFF, part by part, and their polygons as GeoJSON.

A label map lies where its image lies: the same transform and coordinate system. The memory is that
of a part, and of the polygons that are found.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from pointrend_jax.data.rasters import RasterImage, Window, rasterio
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
    error.

    Raises: ValueError if it cannot be written.
    """

    def __init__(self, path: Path, image: RasterImage) -> None:
        self.shape, self.dtype = image.shape[:2], np.dtype(np.uint8)
        self._path, self._unfinished = path, path.with_name(f"{path.name}.unfinished")
        self._image = image
        module = rasterio()
        try:
            self._file = module.open(
                self._unfinished, "w", driver="GTiff", dtype="uint8", count=1,
                height=self.shape[0], width=self.shape[1], crs=image.crs,
                transform=image.transform, nodata=IGNORE_LABEL, compress="deflate", tiled=True,
                blockxsize=_BLOCK, blockysize=_BLOCK, BIGTIFF="IF_SAFER",
            )  # fmt: skip
        except (module.errors.RasterioError, OSError) as error:
            raise ValueError(f"{path} cannot be written ({error}).") from error

    def __setitem__(self, window: Window, part: UInt8[np.ndarray, "h w"]) -> None:
        void = self._image.void(window)
        if void is not None:
            part = np.where(void, np.uint8(IGNORE_LABEL), part)
        sides = [(side.start, side.stop) for side in window]
        self._file.write(part, 1, window=tuple(sides))

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
        self._file.close()
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink(missing_ok=True)


def check_places(image: RasterImage) -> None:
    """Raises ValueError if polygons of the image cannot be placed on the earth."""
    if image.crs is None:
        raise ValueError(
            f"{image.name} says no coordinate system (CRS), and GeoJSON has degrees: assign one "
            "(gdal_edit.py -a_srs EPSG:32633 FILE), or leave geojson out of --format."
        )


def write_geojson(labels: Path, output: Path, class_names: Sequence[str]) -> int:
    """The connected areas of each class of a label map as polygons with holes; their number.

    Outlines follow the borders of pixels, so the polygons are the label map.

    Args:
      labels: a GeoTIFF that `RasterLabels` wrote, with a coordinate system.
    """
    unfinished, number = output.with_name(f"{output.name}.unfinished"), 0
    with unfinished.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for geometry, label in _areas(labels):
            properties = {"class_id": label, "class_name": class_names[label]}
            feature = {"type": "Feature", "properties": properties, "geometry": geometry}
            file.write(("," if number else "") + "\n" + json.dumps(feature))
            number += 1
        file.write("\n]}\n")
    unfinished.replace(output)
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
    x, y = rasterio().warp.transform(crs, _DEGREES, *np.concatenate(rings).T)
    points = np.round(np.stack([x, y], axis=1), _PLACES)
    placed = iter(np.split(points, np.cumsum([len(ring) for ring in rings])[:-1]))
    for polygon in polygons:
        yield [_wound(next(placed), is_hole=place > 0) for place in range(len(polygon))]


def _wound(ring: Float[np.ndarray, "P 2"], *, is_hole: bool) -> list[list[float]]:
    """An outline against the clock, a hole with it, as RFC 7946 asks (section 3.1.6)."""
    x, y = (ring - ring[0]).T
    against_clock = np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) > 0
    return (ring if against_clock != is_hole else ring[::-1]).tolist()
