"""Any image file to uint8 RGB, with the conventions of Detectron2 (`detection_utils.read_image`).

EXIF rotation is applied, transparency is dropped, 16 bits become their upper 8. Every way in which
a file can be unreadable is a ValueError that names it; a fault of what a file says beside its
pixels (EXIF, XMP) is none. Nothing here resizes.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8, UInt16
from PIL import Image, UnidentifiedImageError

# Pillow's own limit against decompression bombs; 90 megapixels are 270 MB decoded.
MAX_PIXELS = 89_478_485

_EXIF_ORIENTATION = 0x0112
# What brings a stored image upright. Source: PIL.ImageOps.exif_transpose, which also writes the
# EXIF data anew and fails where they are odd.
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
# What Pillow multiplies the values of grey images with fewer bits by.
_STRETCHED = {"L;2": 85, "L;4": 17}
_MAP_MODES = ("1", "L", "P", "I", *_SIXTEEN_BIT_MODES)
# Cameras of 12 bits store their values in 16, unscaled.
_TWELVE_BITS = 2**12
_JPEG = b"\xff\xd8"
# The segment of a JPEG that says 72 dots an inch. Without it Pillow looks for the resolution in the
# EXIF data, and takes a file for no image where that is a text.
_JFIF_RESOLUTION = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00H\x00H\x00\x00"
# Whatever a decoder can raise on damaged bytes: Pillow's plugins let errors of every kind through,
# so these are all the roots of Python's own but those of the system (OSError is among them, as
# Pillow raises it itself) and of the import.
_DECODE_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError),
    *(MemoryError, NameError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    *(struct.error, zlib.error),
)


def decode_image(data: bytes, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes an encoded image of any common format and mode.

    Args:
      name: what an error calls the image, normally its path.
    Raises: ValueError if the bytes are no image, are damaged, or hold more than `MAX_PIXELS`.
    """
    with _open(data, name) as image:
        return rgb_pixels(image, name)


def rgb_pixels(image: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of a Pillow image, as those of a file: upright, in RGB.

    Args and errors: as for `decode_image`.
    """
    if image.mode in ("I", "F"):
        raise ValueError(
            f"The image {name} has 32-bit pixels (mode {image.mode}), whose range is unknown; "
            "convert it to 8 or 16 bits."
        )
    try:
        image.load()
        return _to_rgb(_upright(image))
    except _DECODE_ERRORS as error:
        raise ValueError(
            f"The image file {name} is truncated or damaged ({_reason(error)}); restore the "
            "file or remove the image from the set."
        ) from error


def decode_map(data: bytes, name: str) -> Integer[np.ndarray, "H W"]:
    """Decodes an image of one channel whose values are ids, not colours: 1 to 8, 16 or 32 bits.

    Palette images give their indices, images of one bit 0 and 1.
    Raises: ValueError as `decode_image`, or if there are several channels or no whole numbers.
    """
    with _open(data, name) as image:
        channels = len(image.getbands())
        if channels > 1:
            raise ValueError(
                f"The label image {name} must have one channel of ids, got {channels} (mode "
                f"{image.mode}); coloured label images must be turned into ids first."
            )
        if image.mode not in _MAP_MODES:
            raise ValueError(
                f"The label image {name} must have ids of 1, 8, 16 or 32 bits as whole numbers, "
                f"got pixels of mode {image.mode}; save it with one of these."
            )
        tiles = getattr(image, "tile", ())
        # The decoder's arguments, by place: before Pillow 11 a tile is a plain tuple.
        stretched = _STRETCHED.get(str(tiles[0][3]), 1) if tiles else 1
        try:
            # By itself: numpy takes an AttributeError for an object that is no array.
            image.load()
            values = np.array(image) if stretched == 1 else np.array(image) // stretched
        except _DECODE_ERRORS as error:
            raise ValueError(
                f"The label image {name} is truncated or damaged ({_reason(error)}); restore the "
                "file."
            ) from error
    return values.astype(np.uint8) if values.dtype == bool else values


def encoded_hw(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of an encoded image as it is stored, from its header alone."""
    with _open(data, name) as image:
        return image.height, image.width


def read_image(path: Path | str) -> UInt8[np.ndarray, "H W 3"]:
    """Reads and decodes an image file; raises ValueError if it is missing or no whole image."""
    return decode_image(read_bytes(Path(path)), str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file; raises ValueError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"The image file {path} cannot be read ({error.strerror}); check the path."
        ) from error


def _open(data: bytes, name: str) -> Image.Image:
    try:
        image = _identify(data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"The file {name} is not an image that can be decoded; expected a JPEG, a PNG or "
            "another format of Pillow."
        ) from error
    except _DECODE_ERRORS as error:
        raise ValueError(
            f"The image file {name} is damaged ({_reason(error)}); restore it."
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(_too_large(name))
    return image


def _identify(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        # With Adobe's segment beside it, the one put in would decide the colours.
        if not data.startswith(_JPEG) or b"Adobe" in data:
            raise
        return Image.open(io.BytesIO(_JPEG + _JFIF_RESOLUTION + data[len(_JPEG) :]))


def _too_large(name: str) -> str:
    return (
        f"The image {name} must have at most {MAX_PIXELS} pixels; downscale it first, or give a "
        "semantic model a .npy file and predict with --tile."
    )


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF data say that it is to be seen; as it is where they cannot be read."""
    try:
        turn = _TO_UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _DECODE_ERRORS:
        return image
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    if image.mode in _SIXTEEN_BIT_MODES:
        gray = _eight_bits(np.asarray(image).astype(np.uint16))
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        # Pillow warns of a palette with transparency that becomes RGB at once.
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _eight_bits(gray: UInt16[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """The upper 8 bits, of 16 as Pillow takes them of 16-bit RGB, or of 12."""
    if gray.max() >= _TWELVE_BITS:
        return (gray >> 8).astype(np.uint8)
    # Python prints a warning of one text once.
    warnings.warn(
        f"an image has 16-bit grey values that are all below {_TWELVE_BITS}; such images are read "
        "as 12 bits (value / 16). Convert your images to 8 bits if that is not their range.",
        stacklevel=2,
    )
    return (gray >> 4).astype(np.uint8)
