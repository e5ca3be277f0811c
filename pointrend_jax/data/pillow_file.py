"""Files that Pillow opens, whatever is in them: identified, within a size, brought upright.

Every way in which a file can be no image is a ValueError that names it; a fault of what a file says
beside its pixels (EXIF, XMP) is none.
"""

import io
import struct
import zlib

import numpy as np
from jaxtyping import Num
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
# The same of an array: whether rows and columns change places, then the steps along both.
_TURNS = {
    2: (False, 1, -1), 3: (False, -1, -1), 4: (False, -1, 1), 5: (True, 1, 1),
    6: (True, 1, -1), 7: (True, -1, -1), 8: (True, -1, 1),
}  # fmt: skip
# By how the name of the layout of fewer bits begins.
_STRETCHED = {"L;2": 85, "L;4": 17}
_NO_TURN = (False, 1, 1)
_JPEG = b"\xff\xd8"
# The segment of a JPEG that says 72 dots an inch. Without it Pillow looks for the resolution in the
# EXIF data, and takes a file for no image where that is a text.
_JFIF_RESOLUTION = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00H\x00H\x00\x00"
# Whatever a decoder can raise on damaged bytes: Pillow's plugins let errors of every kind through,
# so these are all the roots of Python's own but those of the system (OSError is among them, as
# Pillow raises it itself) and of the import.
DECODE_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError),
    *(MemoryError, NameError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    *(struct.error, zlib.error),
)


def open_image(data: bytes, name: str) -> Image.Image:
    """The image in a file, not decoded yet.

    Args:
      name: what an error calls it.
    Raises: ValueError if the bytes are no image, or hold more than `MAX_PIXELS`.
    """
    try:
        image = _identify(data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(too_large(name)) from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"The file {name} is not an image that can be decoded; expected a JPEG, a PNG or "
            "another format of Pillow."
        ) from error
    except DECODE_ERRORS as error:
        raise ValueError(
            f"The image file {name} is damaged ({reason(error)}); restore it."
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(too_large(name))
    return image


def stretch(image: Image.Image) -> float:
    """What Pillow multiplies the values of a grey image by, so that they fill 8 or 16 bits.

    Args:
      image: not decoded yet.
    """
    tiles = getattr(image, "tile", ())
    # By place: before Pillow 11 a tile is a plain tuple.
    arguments = tiles[0][3] if tiles else ()
    match arguments if isinstance(arguments, tuple) else (arguments,):
        case (str(), int(highest)) if image.format == "PPM" and highest > 0:
            return (255 if highest <= 255 else 65535) / highest
        case (str(layout), *_):
            return _STRETCHED.get(layout[:3], 1)
    return 1


def too_large(name: str) -> str:
    """What is said of an image of too many pixels."""
    return (
        f"The image {name} must have at most {MAX_PIXELS} pixels; downscale it first, or give a "
        "semantic model a .npy file and predict with --tile."
    )


def reason(error: BaseException) -> str:
    """What an error says, or at least what it is."""
    return str(error) or type(error).__name__


def upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF data say that it is to be seen; as it is where they cannot be read."""
    turn = _TO_UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def upright_hw(image: Image.Image) -> tuple[int, int]:
    """(height, width) of `upright(image)`; of a TIFF image once it is decoded, which turns it."""
    swapped, _, _ = _TURNS.get(_orientation(image), _NO_TURN)
    return (image.width, image.height) if swapped else (image.height, image.width)


def upright_array(values: Num[np.ndarray, "H W C"], image: Image.Image) -> Num[np.ndarray, "h w C"]:
    """The values of an image, decoded by another library, as `upright` turns the image."""
    swapped, down, right = _TURNS.get(_orientation(image), _NO_TURN)
    return (values.swapaxes(0, 1) if swapped else values)[::down, ::right]


def _orientation(image: Image.Image) -> int:
    """As EXIF has it, 1 if the image says nothing that can be read."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except DECODE_ERRORS:
        return 1


def _identify(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        # With Adobe's segment beside it, the one put in would decide the colours.
        if not data.startswith(_JPEG) or b"Adobe" in data:
            raise
        return Image.open(io.BytesIO(_JPEG + _JFIF_RESOLUTION + data[len(_JPEG) :]))
