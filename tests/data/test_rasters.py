"""Parts of TIFF files equal parts of the arrays; what is missing in them is known."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.rasters import RasterImage, is_placed
from pointrend_jax.pixel_format import PixelFormat
from tests.data.image_files import PLACE, tiff

_PIXELS = PixelFormat(4, "uint16", (100.0, 4095.0), (2, 1, 0))
_TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16}


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 4096, (50, 70, 4)).astype(np.uint16)


@pytest.mark.parametrize("options", [{}, _TILED, _TILED | {"compress": "deflate"}])
def test_parts_equal_those_of_the_array(image: np.ndarray, tmp_path: Path, options: dict) -> None:
    tiff(tmp_path / "scene.tif", image, **PLACE, **options)
    raster = RasterImage(tmp_path / "scene.tif", _PIXELS)
    assert (raster.shape, raster.dtype) == (image.shape, image.dtype)
    for window in ((slice(3, 20), slice(7, 39)), (slice(40, 99), slice(0, 99))):
        np.testing.assert_array_equal(raster[window], image[window])
        assert raster.void(window) is None
    assert raster.thinned(4).shape == (13, 18, 4)


def test_missing_values_are_black_and_pixels_without_any_are_void(
    image: np.ndarray, tmp_path: Path
) -> None:
    image[:10], image[20, 30, 1] = 0, 0
    tiff(tmp_path / "scene.tif", image, nodata=0)
    raster = RasterImage(tmp_path / "scene.tif", _PIXELS)
    read, void = raster[:, :], raster.void((slice(0, 50), slice(0, 70)))
    np.testing.assert_array_equal(read, np.where(image == 0, 100, image))
    assert void is not None
    assert void[:10].all()
    assert not void[10:].any()


@pytest.mark.parametrize("missing", [np.nan, -3.4e38])
def test_missing_floats_may_be_nan_or_a_number(missing: float, tmp_path: Path) -> None:
    image = np.ones((8, 8, 2), np.float32)
    image[0] = missing
    tiff(tmp_path / "scene.tif", image, nodata=missing)
    raster = RasterImage(tmp_path / "scene.tif", PixelFormat(2, "float32", (0.0, 1.0), ()))
    assert raster[0:2, 0:8][..., 0].tolist() == [[0.0] * 8, [1.0] * 8]


def test_whether_a_file_lies_on_the_earth_is_told_by_its_tags(
    image: np.ndarray, tmp_path: Path
) -> None:
    tiff(tmp_path / "placed.tif", image, **PLACE)
    tiff(tmp_path / "big.tif", image, **PLACE, BIGTIFF="YES")
    Image.fromarray(image[..., 0]).save(tmp_path / "plain.tif")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "placed.tif").read_bytes()[:12])
    (tmp_path / "text.tif").write_text("no image")
    names = ("placed", "big", "plain", "cut", "text", "absent")
    placed = [name for name in names if is_placed(tmp_path / f"{name}.tif")]
    assert placed == ["placed", "big"]


def test_without_rasterio_the_extra_is_named(
    image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiff(tmp_path / "scene.tif", image)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ValueError, match=r"pip install 'pointrend_jax\[geo\]'"):
        RasterImage(tmp_path / "scene.tif", _PIXELS)
