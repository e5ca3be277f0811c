"""Parts of TIFF files equal parts of the arrays; what is missing in them is known."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from pointrend_jax.data.rasters import RasterImage
from pointrend_jax.data.tiff_tags import is_placed, tags_of
from pointrend_jax.pixel_format import PHOTO, PixelFormat
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


def test_a_photo_is_as_stored_whatever_it_declares_as_missing(tmp_path: Path) -> None:
    photo = np.full((8, 8, 3), (255, 40, 0), np.uint8)
    photo[0] = 255
    tiff(tmp_path / "scene.tif", photo, nodata=255, photometric="RGB")
    raster = RasterImage(tmp_path / "scene.tif", PHOTO)
    np.testing.assert_array_equal(raster[:, :], photo)
    np.testing.assert_array_equal(raster.thinned(1), photo)
    void = raster.void((slice(0, 8), slice(0, 8)))
    assert void is not None
    assert void.sum() == 8
    assert void[0].all()


def test_what_a_mask_in_the_file_leaves_out_is_missing(image: np.ndarray, tmp_path: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        tiff(tmp_path / "scene.tif", image)
        with rasterio.open(tmp_path / "scene.tif", "r+") as file:
            file.write_mask(np.arange(50)[:, None].repeat(70, 1) >= 10)
    raster = RasterImage(tmp_path / "scene.tif", _PIXELS)
    expected = image.copy()
    expected[:10] = 100
    np.testing.assert_array_equal(raster[:, :], expected)
    np.testing.assert_array_equal(raster.thinned(1), expected)
    void = raster.void((slice(5, 20), slice(0, 70)))
    assert void is not None
    np.testing.assert_array_equal(void.all(axis=1), np.arange(5, 20) < 10)
    assert (void.any(axis=1) == void.all(axis=1)).all()


def test_what_lies_beside_a_file_is_not_read(image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    image[:10] = 7
    data = tiff(path, image)
    bands = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>7</NoDataValue></PAMRasterBand>'
        for band in range(1, 5)
    )
    path.with_name("scene.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    with rasterio.open(path) as file:
        assert file.nodata == 7
    for source in (path, data):
        np.testing.assert_array_equal(RasterImage(source, _PIXELS, "scene")[:, :], image)


def test_a_damaged_file_is_named_where_it_is_thinned(image: np.ndarray, tmp_path: Path) -> None:
    data = tiff(tmp_path / "scene.tif", image, **_TILED)
    (tmp_path / "scene.tif").write_bytes(data[:-900])
    with pytest.raises(ValueError, match=r"scene\.tif is truncated or damaged"):
        RasterImage(tmp_path / "scene.tif", _PIXELS).thinned(4)


def test_a_scale_that_bands_declare_is_told_and_not_applied(
    image: np.ndarray, tmp_path: Path
) -> None:
    tiff(tmp_path / "scene.tif", image)
    with rasterio.open(tmp_path / "scene.tif", "r+") as file:
        file.scales, file.offsets = (0.1,) * 4, (-100.0,) * 4
    with pytest.warns(UserWarning, match=r"scales \(0\.1, .* offsets \(-100\.0, .* not applied"):
        raster = RasterImage(tmp_path / "scene.tif", _PIXELS)
    np.testing.assert_array_equal(raster[:, :], image)


def test_what_several_files_declare_alike_is_told_once(image: np.ndarray, tmp_path: Path) -> None:
    tiff(tmp_path / "scene.tif", image[..., :1], photometric="MINISWHITE")
    code = (
        "import sys\n"
        "from pointrend_jax.data.rasters import RasterImage\n"
        "from pointrend_jax.pixel_format import PixelFormat\n"
        "for _ in range(3):\n"
        "    RasterImage(sys.argv[1], PixelFormat(1, 'uint16', (0.0, 9.0), ()))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "scene.tif")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.count("0 is white") == 1


def test_a_file_that_gdal_opens_and_cannot_describe_is_refused(
    image: np.ndarray, tmp_path: Path
) -> None:
    data = tiff(tmp_path / "scene.tif", image[..., :1])
    at = data.index(struct.pack("<HHI", 284, 3, 1))
    (tmp_path / "scene.tif").write_bytes(
        data[:at] + struct.pack("<HHIHH", 274, 3, 1, 0, 0) + data[at + 12 :]
    )
    with pytest.raises(ValueError, match=r"scene\.tif"):
        RasterImage(tmp_path / "scene.tif", PixelFormat(1, "uint16", (0.0, 9.0), ()))


def test_tags_of_any_type_are_read_as_what_they_are() -> None:
    entries = struct.pack(">HHII", 274, 4, 1, 6) + struct.pack(">HHIHH", 262, 3, 1, 1, 0)
    header = b"MM\0*" + struct.pack(">IH", 8, 3)
    text = struct.pack(">HHI", 270, 2, 1) + b"a\0\0\0"
    assert tags_of(header + entries + text) == {274: 6, 262: 1, 270: -1}


def test_that_zero_is_white_is_told_and_not_undone(image: np.ndarray, tmp_path: Path) -> None:
    tiff(tmp_path / "scene.tif", image[..., :1], photometric="MINISWHITE")
    with pytest.warns(UserWarning, match="0 is white .* read as stored"):
        raster = RasterImage(tmp_path / "scene.tif", PixelFormat(1, "uint16", (0.0, 9.0), ()))
    np.testing.assert_array_equal(raster[:, :], image[..., :1])


def test_one_page_of_several_is_not_taken_for_the_image(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 8), value, np.uint16)) for value in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=r"stack\.tif has 3 pages, of which one .*-separate"):
        RasterImage(tmp_path / "stack.tif", PixelFormat(1, "uint16", (0.0, 9.0), ()))


def test_a_file_that_is_stored_turned_is_refused_unless_it_is_placed(
    image: np.ndarray, tmp_path: Path
) -> None:
    for order in ("<", ">"):
        path, pixels = tmp_path / "turned.tif", PixelFormat(1, "uint16", (0.0, 9.0), ())
        value = struct.pack(f"{order}HHIHH", 274, 3, 1, 6, 0)
        # Beside a header, one tag more than rasterio writes: in the place of one that says nothing.
        data = tiff(path, image[..., :1], ENDIANNESS="BIG" if order == ">" else "LITTLE")
        at = data.index(struct.pack(f"{order}HHI", 284, 3, 1))
        path.write_bytes(data[:at] + value + data[at + 12 :])
        for source in (path, path.read_bytes()):
            with pytest.raises(ValueError, match=r"turned.*Orientation is 6.*store it upright"):
                RasterImage(source, pixels, "turned.tif")
        data = tiff(path, image[..., :1], **PLACE)
        at = data.index(struct.pack("<HHI", 284, 3, 1))
        path.write_bytes(data[:at] + struct.pack("<HHIHH", 274, 3, 1, 6, 0) + data[at + 12 :])
        assert RasterImage(path, pixels).shape == (50, 70, 1)


def test_pyramids_and_masks_are_no_pages(image: np.ndarray, tmp_path: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        tiff(tmp_path / "scene.tif", image, **_TILED)
        with rasterio.open(tmp_path / "scene.tif", "r+") as file:
            file.write_mask(np.ones(image.shape[:2], bool))
            file.build_overviews([2, 4])
    np.testing.assert_array_equal(RasterImage(tmp_path / "scene.tif", _PIXELS)[:, :], image)


def test_transparency_is_a_channel_of_its_own(image: np.ndarray, tmp_path: Path) -> None:
    image[:10, :, 3] = 0
    tiff(tmp_path / "scene.tif", image, photometric="RGB", alpha="YES")
    raster = RasterImage(tmp_path / "scene.tif", _PIXELS)
    np.testing.assert_array_equal(raster[:, :], image)
    assert raster.void((slice(0, 50), slice(0, 70))) is None
    with pytest.raises(ValueError, match=r"channels is 3 .*alpha.* which counts: .*-mask 4"):
        RasterImage(tmp_path / "scene.tif", PixelFormat(3, "uint16", (0.0, 9.0), ()))


def test_an_offset_beyond_any_file_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "odd.tif").write_bytes(b"II+\0\x08\0\0\0" + b"\xff" * 8)
    assert not is_placed(tmp_path / "odd.tif")
