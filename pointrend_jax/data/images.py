"""Any image file to uint8 RGB, with the conventions of Detectron2 (`detection_utils.read_image`).

EXIF rotation is applied, transparency is dropped, 16 bits become their upper 8. Every way in which
a file can be unreadable is a ValueError that names it. Nothing here resizes.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow's own limit against decompression bombs; 90 megapixels are 270 MB decoded.
MAX_PIXELS = 89_478_485

_EXIF_ORIENTATION = 0x0112
_EXIF_TRANSPOSED = (5, 6, 7, 8)
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_MAP_MODES = ("L", "P", "I", *_SIXTEEN_BIT_MODES)
# What Pillow's decoders raise on damaged files of the formats it knows.
_DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, RuntimeError, TypeError),
    *(struct.error, zlib.error),
)


def decode_image(data: bytes, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes an encoded image of any common format and mode.

    Args:
      name: what an error calls the image, normally its path.
    Raises: ValueError if the bytes are no image, are damaged, or hold more than `MAX_PIXELS`.
    """
    with _open(data, name) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
        except _DECODE_ERRORS as error:
            raise ValueError(
                f"The image file {name} is truncated or damaged ({error}); restore the file or "
                "remove the image from the set."
            ) from error
    return _to_rgb(upright, name)


def decode_map(data: bytes, name: str) -> Integer[np.ndarray, "H W"]:
    """Decodes an image of one channel whose values are ids, not colours: 8, 16 or 32 bits.

    Palette images give their indices.
    Raises: ValueError as `decode_image`, or if there are several channels.
    """
    with _open(data, name) as image:
        if image.mode not in _MAP_MODES:
            raise ValueError(
                f"The label image {name} must have one channel of ids, got mode {image.mode}; "
                "coloured label images must be turned into ids first."
            )
        try:
            image.load()
        except _DECODE_ERRORS as error:
            raise ValueError(
                f"The label image {name} is truncated or damaged ({error}); restore the file."
            ) from error
        return np.array(image)


def map_hw(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of a label image, from its header alone."""
    with _open(data, name) as image:
        return image.height, image.width


def read_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Reads and decodes an image file; raises ValueError if it is missing or no whole image."""
    return decode_image(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file; raises ValueError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"The image file {path} cannot be read ({error.strerror}); check the path."
        ) from error


def image_hw(path: Path) -> tuple[int, int]:
    """(height, width) of the upright image, from the header alone; raises as `read_image`."""
    with _open(read_bytes(path), str(path)) as image:
        width, height = image.size
        transposed = image.getexif().get(_EXIF_ORIENTATION) in _EXIF_TRANSPOSED
    return (width, height) if transposed else (height, width)


def _open(data: bytes, name: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"The file {name} is not an image that can be decoded; expected a JPEG, a PNG or "
            "another format of Pillow."
        ) from error
    except _DECODE_ERRORS as error:
        raise ValueError(f"The image file {name} is damaged ({error}); restore it.") from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(_too_large(name))
    return image


def _too_large(name: str) -> str:
    return (
        f"The image {name} must have at most {MAX_PIXELS} pixels; downscale it first, or give a "
        "semantic model a .npy file and predict with --tile."
    )


def _to_rgb(image: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    if image.mode in _SIXTEEN_BIT_MODES:
        # Pillow clips 16-bit grey at 255; the upper byte is what it takes of 16-bit RGB itself.
        gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"The image {name} has 32-bit pixels (mode {image.mode}), whose range is unknown; "
            "convert it to 8 or 16 bits."
        )
    if image.mode == "P" and "transparency" in image.info:
        # Pillow warns of a palette with transparency that becomes RGB at once.
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))
