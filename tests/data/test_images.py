"""Every kind of image file that people have becomes uint8 RGB, or a message that names the file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data import images
from pointrend_jax.data.images import decode_image, image_hw, read_image


def _encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def _decoded(image: Image.Image) -> np.ndarray:
    return decode_image(_encoded(image), "image.png")


def test_rgb_png_is_unchanged():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(_decoded(Image.fromarray(pixels)), pixels)


def test_grayscale_is_repeated_in_each_channel():
    gray = np.array([[0, 100], [200, 255]], np.uint8)
    np.testing.assert_array_equal(_decoded(Image.fromarray(gray)), np.stack([gray] * 3, axis=-1))


def test_transparency_is_dropped():
    rgba = np.array([[[10, 20, 30, 0], [40, 50, 60, 128]]], np.uint8)
    np.testing.assert_array_equal(_decoded(Image.fromarray(rgba)), rgba[..., :3])


def test_palette_gives_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 40, 50, 60])
    image.putdata([0, 1])
    np.testing.assert_array_equal(_decoded(image), [[[1, 2, 3], [40, 50, 60]]])


def test_transparent_palette_gives_its_colours_without_a_warning():
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 40, 50, 60])
    image.putdata([0, 1])
    data = _encoded(image, transparency=bytes([0, 128]))
    np.testing.assert_array_equal(decode_image(data, "icon.png"), [[[1, 2, 3], [40, 50, 60]]])


def test_sixteen_bits_are_scaled_not_clipped():
    gray = np.array([[0, 256, 32768, 65535]], np.uint16)
    assert _decoded(Image.fromarray(gray))[0, :, 1].tolist() == [0, 1, 128, 255]


def test_cmyk_jpeg_is_converted():
    # Full cyan ink leaves no red.
    data = _encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG")
    np.testing.assert_allclose(decode_image(data, "ink.jpg")[4, 4], [0, 255, 255], atol=3)


def test_exif_rotation_is_applied(tmp_path: Path):
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    path = tmp_path / "turned.png"
    path.write_bytes(_encoded(Image.fromarray(pixels), exif=exif))
    upright = read_image(path)
    assert upright.shape == (3, 2, 3)
    assert upright[0, 1].tolist() == [255, 255, 255]
    assert image_hw(path) == (3, 2)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (10_000, 2), (2, 10_000)])
def test_extreme_sizes_are_read(width: int, height: int):
    assert _decoded(Image.new("RGB", (width, height))).shape == (height, width, 3)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_truncated_file_is_an_error_that_names_it(image_format: str):
    rng = np.random.default_rng(0)
    data = _encoded(Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)), image_format)
    with pytest.raises(ValueError, match=r"photo\.x is truncated or damaged"):
        decode_image(data[: len(data) // 2], "photo.x")


@pytest.mark.parametrize("data", [b"", b"GIF", b"<html>not found</html>"])
def test_no_image_is_an_error_that_names_it(data: bytes):
    with pytest.raises(ValueError, match=r"page\.jpg is not an image"):
        decode_image(data, "page.jpg")


def test_missing_file_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(ValueError, match=r"absent\.jpg cannot be read"):
        read_image(tmp_path / "absent.jpg")


def test_unsupported_variant_of_a_format_is_an_error_that_names_it():
    data = bytearray(_encoded(Image.new("RGB", (4, 4)), "DDS"))
    data[80:84] = (145).to_bytes(4, "little")  # flags of no pixel format that Pillow knows
    with pytest.raises(ValueError, match=r"texture\.dds is damaged"):
        decode_image(bytes(data), "texture.dds")


# Pillow warns of odd TIFF tags before it fails or succeeds.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes_raise_only_value_errors():
    rng = np.random.default_rng(1)
    pixels = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
    for image_format in ("PNG", "JPEG", "GIF", "BMP", "TIFF"):
        intact = np.frombuffer(_encoded(pixels, image_format), np.uint8)
        for _ in range(30):
            damaged = intact.copy()
            damaged[rng.integers(0, len(damaged), 4)] = rng.integers(0, 256, 4)
            try:
                decode_image(damaged.tobytes(), "damaged")
            except ValueError as error:
                assert "damaged" in str(error)  # noqa: PT017 - many files decode all the same


def test_too_many_pixels_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 5)
    with pytest.raises(ValueError, match="at most 5 pixels"):
        _decoded(Image.new("RGB", (3, 2)))


def test_floating_point_pixels_are_an_error():
    with pytest.raises(ValueError, match="32-bit pixels"):
        decode_image(_encoded(Image.new("F", (2, 2)), "TIFF"), "depth.tif")
