"""Images of other pixels than photos have: read as they were stored, or refused by name."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.images import decode_image
from pointrend_jax.pixel_format import PHOTO, PixelFormat
from tests.data.image_files import npy, png, tiff
from tests.data.test_images import _encoded


def _image(channels: int, dtype: str, hw: tuple[int, int] = (20, 30)) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 4096, (*hw, channels))
    return (values % 256 if dtype == "uint8" else values).astype(dtype)


def _format(channels: int, dtype: str) -> PixelFormat:
    return PixelFormat(channels, dtype, (0.0, 4095.0), ())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_files_of_any_channels_and_type_are_read_as_stored(
    channels: int, dtype: str, tmp_path: Path
) -> None:
    image, pixels = _image(channels, dtype), _format(channels, dtype)
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw"}
    for data in (
        npy(image),
        npy(image.astype(image.dtype.newbyteorder(">"))),
        tiff(tmp_path / "a.tif", image),
        tiff(tmp_path / "b.tif", image, interleave="pixel", **tiled),
    ):
        read = decode_image(data, "image", pixels)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_all_bits_and_the_order_of_its_channels(channels: int, dtype: str) -> None:
    image = _image(channels, dtype)
    pixels = PHOTO if (channels, dtype) == (3, "uint8") else _format(channels, dtype)
    np.testing.assert_array_equal(decode_image(png(image), "a.png", pixels), image)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def test_values_of_few_bits_are_not_scaled_unsaid() -> None:
    pixels = _format(1, "uint8")
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 4, 0, 0, 0, 0))
    rows = _chunk(b"IDAT", zlib.compress(b"\0\x01\x23")) + _chunk(b"IEND", b"")
    for data in (b"\x89PNG\r\n\x1a\n" + header + rows, b"P5 4 1 10 " + bytes(range(4))):
        with pytest.raises(ValueError, match="fewer than 8 bits"):
            decode_image(data, "image", pixels)
    assert decode_image(b"P5 4 1 255 " + bytes(range(4)), "image", pixels)[0, 1, 0] == 1


_PNG_HEADER = 8 + 25  # the signature and the first chunk


def test_transparent_colours_of_16_bits_keep_the_order_of_the_channels() -> None:
    image = _image(3, "uint16")
    data = png(image)
    data = (
        data[:_PNG_HEADER] + _chunk(b"tRNS", struct.pack(">HHH", *image[4, 5])) + data[_PNG_HEADER:]
    )
    read = decode_image(data, "a.png", _FOUR)
    np.testing.assert_array_equal(read[..., :3], image)
    assert (read[..., 3] == 0).sum() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pngs_of_16_bits_are_turned_as_those_of_8(orientation: int) -> None:
    small, exif = _image(1, "uint8"), Image.Exif()
    exif[0x0112] = orientation
    # Pillow keeps the marker of JPEG, which a chunk of PNG has not.
    chunk = _chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    found = []
    for image in (small, small.astype(np.uint16)):
        data = png(image)
        data = data[:_PNG_HEADER] + chunk + data[_PNG_HEADER:]
        found.append(decode_image(data, "a.png", _format(1, str(image.dtype))))
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].shape == ((20, 30, 1) if orientation < 5 else (30, 20, 1))


def test_grey_jpegs_and_arrays_without_an_axis_of_channels_have_one() -> None:
    grey = _image(1, "uint8")[..., 0]
    assert decode_image(npy(grey), "a.npy", _format(1, "uint8")).shape == (20, 30, 1)
    jpeg = _encoded(Image.fromarray(grey), "JPEG")
    assert decode_image(jpeg, "a.jpg", _format(1, "uint8")).shape == (20, 30, 1)
    # A set of photos may have arrays too.
    photo = _image(3, "uint8")
    np.testing.assert_array_equal(decode_image(npy(photo), "a.npy"), photo)


def _palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 40, 50, 60])
    return _encoded(image)


def _palette_tiff(path: Path) -> bytes:
    data = tiff(path, np.zeros((4, 4, 1), np.uint8))
    import rasterio

    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (1, 2, 3, 255)})
    del data
    return path.read_bytes()


def _of_two_types(path: Path) -> bytes:
    """A TIFF file whose second band is said to have 8 bits: not a thing that GDAL reads."""
    data = bytearray(tiff(path, _image(2, "uint16"), interleave="band"))
    entry = data.index(struct.pack("<HHI", 258, 3, 2))
    data[entry + 8 : entry + 12] = struct.pack("<HH", 16, 8)
    return bytes(data)


def _with_nan() -> np.ndarray:
    image = _image(2, "float32")
    image[3, 4, 1], image[5] = np.nan, np.inf
    return image


_FOUR, _GREY = _format(4, "uint16"), _format(1, "uint8")


@pytest.mark.parametrize(
    ("name", "data", "pixels", "match"),
    [
        ("channels", npy(_image(3, "uint16")), _FOUR, r"config.data.channels is 4, .* has 3"),
        ("type", npy(_image(4, "uint8")), _FOUR, "config.data.dtype is 'uint16'.*that dtype"),
        ("signed", npy(_image(4, "int16")), _FOUR, "got int16 .*'uint16': convert the image"),
        ("array", npy(np.zeros((2, 2, 4, 1), "uint16")), _FOUR, "channels come last"),
        ("empty", npy(np.zeros((0, 2, 4), "uint16")), _FOUR, "no side is 0"),
        ("objects", npy(np.array([{}], object)), _FOUR, r"no whole \.npy file"),
        ("cut array", npy(_image(4, "uint16"))[:-9], _FOUR, r"no whole \.npy file"),
        ("cut png", png(_image(4, "uint16"))[:-600], _FOUR, "truncated or damaged|got uint16"),
        ("cut 8-bit png", png(_image(1, "uint8"))[:-200], _GREY, "truncated or damaged"),
        ("palette", _palette(), _GREY, "mode P, .*palette"),
        ("rgb png", png(_image(3, "uint8")), _GREY, "config.data.channels is 1, .* has 3"),
        ("8-bit png", png(_image(4, "uint8")), _FOUR, "config.data.dtype is 'uint16'"),
        ("16-bit png", png(_image(1, "uint16")), _GREY, "config.data.dtype is 'uint8'"),
        ("cmyk", _encoded(Image.new("CMYK", (4, 4)), "JPEG"), _GREY, "mode CMYK"),
        ("nan", npy(_with_nan()), _format(2, "float32"), "61 values .* row 3, column 4, channel 1"),
        ("text", b"II*\0 and no more", _FOUR, "no TIFF file that can be read"),
        ("nothing", b"", _FOUR, "not an image"),
    ],
)
def test_bad_files_are_refused_by_name(
    name: str, data: bytes, pixels: PixelFormat, match: str
) -> None:
    with pytest.raises(ValueError, match=match) as told:
        decode_image(data, f"{name}.file", pixels)
    assert f"{name}.file" in str(told.value)


@pytest.mark.parametrize(
    ("make", "pixels", "match"),
    [
        (_palette_tiff, _GREY, "has a palette"),
        (lambda p: tiff(p, _image(5, "uint16")), _FOUR, r"got uint16 \(20, 30, 5\): .*channels is"),
        (lambda p: tiff(p, _image(4, "int16")), _FOUR, r"got int16 .*; convert it"),
        (_of_two_types, _format(2, "uint16"), "no TIFF file .*different values per sample"),
        (lambda p: tiff(p, _image(14, "uint16")), _FOUR, r"got uint16 \(20, 30, 14\)"),
        (lambda p: tiff(p, _with_nan()), _format(2, "float32"), "61 values that are NaN"),
        (lambda p: tiff(p, _image(4, "uint16"))[:-900], _FOUR, "truncated or damaged|no TIFF"),
    ],
    ids=["palette", "channels", "signed", "two types", "14 channels", "nan", "cut"],
)
def test_bad_tiffs_are_refused_by_name(
    make: Any, pixels: PixelFormat, match: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=match) as told:
        decode_image(make(tmp_path / "scene.tif"), "scene.tif", pixels)
    assert "scene.tif" in str(told.value)


def test_too_many_pixels_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pointrend_jax.data.bands.MAX_PIXELS", 500)
    data = tiff(tmp_path / "a.tif", _image(4, "uint16"))
    with pytest.raises(ValueError, match=r"image a\.tif must have at most .*--tile"):
        decode_image(data, "a.tif", _FOUR)
