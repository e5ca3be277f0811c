"""Every kind of image file that people have becomes uint8 RGB, or a message that names the file."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from pointrend_jax.data import pillow_file
from pointrend_jax.data.images import decode_image, decode_map, encoded_hw, photo_hw, read_image
from tests.data.image_files import PLACE, tiff


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


def test_twelve_bits_are_scaled_and_told():
    gray = np.array([[0, 16, 2048, 4095]], np.uint16)
    with pytest.warns(UserWarning, match="all below 4096.*read as 12 bits"):
        assert _decoded(Image.fromarray(gray))[0, :, 1].tolist() == [0, 1, 128, 255]


def test_map_of_one_bit_has_zeros_and_ones():
    labels = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    found = decode_map(_encoded(Image.fromarray(labels * 255).convert("1")), "labels.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize(("bits", "pixels"), [(2, b"\x1b"), (4, b"\x01\x23")])
def test_map_of_few_bits_has_the_values_that_were_stored(bits: int, pixels: bytes):
    # Four grey pixels; Pillow writes no such file, and stretches what it reads to 0..255.
    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + pixels)), (b"IEND", b""))
    stored = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    assert decode_map(stored, "labels.png").tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("compress", ["none", "deflate"])
def test_tiff_map_of_few_bits_has_the_values_that_were_stored(
    bits: int, compress: str, tmp_path: Path
):
    ids = np.array([[[0], [1], [2], [3]]], np.uint8)
    data = tiff(tmp_path / "labels.tif", ids, **PLACE, nbits=bits, compress=compress)
    assert decode_map(data, "labels.tif").tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("header", [b"P5 4 1 255 ", b"P2 4 1 255 ", b"P5 4 1 65535 "])
def test_pgm_map_has_the_values_that_were_stored(header: bytes):
    pixels = {b"P2": b"0 1 2 3", b"P5": bytes(range(4))}[header[:2]]
    pixels = struct.pack(">4H", 0, 1, 2, 3) if b"65535" in header else pixels
    assert decode_map(header + pixels, "labels.pgm").tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("header", [b"P5 4 1 10 ", b"P2 4 1 10 ", b"P5 4 1 1000 "])
def test_pgm_map_whose_values_would_be_scaled_is_refused(header: bytes):
    pixels = b"0 1 2 3" if header.startswith(b"P2") else bytes(8)
    with pytest.raises(ValueError, match=r"labels\.pgm has a maxval.* save it as PNG"):
        decode_map(header + pixels, "labels.pgm")


@pytest.mark.parametrize(
    ("image_format", "options"), [("JPEG", {}), ("TIFF", {"compression": "jpeg"})]
)
def test_map_in_a_format_that_changes_values_is_refused(image_format: str, options: dict[str, str]):
    rows, columns = np.mgrid[:64, :64]
    disc = ((rows - 32) ** 2 + (columns - 32) ** 2 < 400).astype(np.uint8) * 255
    data = _encoded(Image.fromarray(disc), image_format, **options)
    with pytest.raises(ValueError, match=r"labels\.x is stored as JPEG.* save it as PNG"):
        decode_map(data, "labels.x")


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_of_a_photo_is_that_of_its_pixels(image_format: str, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _encoded(Image.new("RGB", (60, 40)), image_format, exif=exif)
    assert photo_hw(data, "photo") == decode_image(data, "photo").shape[:2]
    assert photo_hw(data, "photo") == ((60, 40) if orientation > 4 else (40, 60))


@pytest.mark.parametrize(
    ("mode", "message"),
    [("RGB", r"one channel of ids, got 3 \(mode RGB\)"), ("F", "got pixels of mode F")],
)
def test_map_without_ids_is_an_error_that_says_why(mode: str, message: str):
    with pytest.raises(ValueError, match=message):
        decode_map(_encoded(Image.new(mode, (2, 2)), "TIFF"), "labels.tif")


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


def _photo(orientation: int, tag: int, kind: int, value: bytes) -> bytes:
    """A whole JPEG, black but for its bright left half, with three EXIF tags."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255
    jpeg = _encoded(Image.fromarray(pixels), "JPEG")
    entries = [struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0)]
    # The unit of the resolution, without which Pillow does not look at the resolution itself.
    entries.append(struct.pack(">HHIHH", 0x128, 3, 1, 2, 0))
    entries.append(struct.pack(">HHII", tag, kind, 1, 50))
    block = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 3) + b"".join(sorted(entries))
    block += bytes(4) + value
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


# (what is odd, tag, kind, value)
_ODD_EXIF = [
    ("text as a rational", 0x10F, 5, struct.pack(">II", 72, 1)),
    ("rational below zero without a whole", 0x11A, 10, struct.pack(">ii", -1, 0)),
    ("resolution as a text", 0x11A, 2, b"72\0"),
    ("sub-block of nothing", 0x8769, 5, bytes(8)),
    ("value beyond the block", 0x132, 2, b""),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("tag", "kind", "value"), [o[1:] for o in _ODD_EXIF], ids=[o[0] for o in _ODD_EXIF]
)
def test_odd_exif_data_leave_the_picture_upright(tag: int, kind: int, value: bytes):
    upright = decode_image(_photo(6, tag, kind, value), "photo.jpg")
    assert upright.shape == (32, 16, 3)
    # Turned clockwise, what was on the left is at the top.
    assert upright[:12].min() > 200
    assert upright[20:].max() < 50


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_unreadable_orientation_leaves_the_picture_as_it_is():
    garbage = b"Exif\0\0MM\0*" + bytes(range(200, 240))
    jpeg = _encoded(Image.new("RGB", (32, 16)), "JPEG")
    jpeg = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(garbage) + 2) + garbage + jpeg[2:]
    assert decode_image(jpeg, "photo.jpg").shape == (16, 32, 3)


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
    for image_format in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        intact = np.frombuffer(_encoded(pixels, image_format), np.uint8)
        for _ in range(30):
            damaged = intact.copy()
            damaged[rng.integers(0, len(damaged), 4)] = rng.integers(0, 256, 4)
            for decode in (decode_image, decode_map, encoded_hw, photo_hw):
                try:
                    decode(damaged.tobytes(), "damaged")
                except ValueError as error:
                    assert "damaged" in str(error)  # noqa: PT017 - many files decode all the same


@pytest.mark.parametrize("error", [AttributeError, ZeroDivisionError, MemoryError, AssertionError])
def test_whatever_a_decoder_raises_names_the_file(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
):
    def load(_: object) -> None:
        raise error

    monkeypatch.setattr(PngImageFile, "load", load)
    for decode in (decode_image, decode_map):
        with pytest.raises(ValueError, match=rf"a\.png is truncated or damaged \({error.__name__}"):
            decode(_encoded(Image.new("L", (2, 2))), "a.png")


def test_too_many_pixels_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pillow_file, "MAX_PIXELS", 5)
    with pytest.raises(ValueError, match="at most 5 pixels"):
        _decoded(Image.new("RGB", (3, 2)))


def test_floating_point_pixels_are_an_error():
    with pytest.raises(ValueError, match="32-bit pixels"):
        decode_image(_encoded(Image.new("F", (2, 2)), "TIFF"), "depth.tif")
