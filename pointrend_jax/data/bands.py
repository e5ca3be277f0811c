"""Images that are no photos: 1 to 13 channels of uint8, uint16 or float32, as they were stored.

    .npy             any of them, [H, W, C], or [H, W] of one channel
    TIFF, GeoTIFF    any of them (`rasters.py`)
    PNG              1, 3 or 4 channels of 8 or 16 bits, or 2 (grey and alpha) of 8
    JPEG and others  8 bits, as Pillow reads them

Nothing is converted, scaled or guessed: what a file has must be what the configuration says.
"""

import io
import tokenize

import cv2
import numpy as np
from jaxtyping import Num
from PIL import Image

from pointrend_jax.data.pillow_file import (
    DECODE_ERRORS,
    MAX_PIXELS,
    open_image,
    reason,
    stretch,
    too_large,
    upright,
    upright_array,
)
from pointrend_jax.data.rasters import PixelsAndMissing, RasterImage
from pointrend_jax.data.tiff_tags import is_tiff
from pointrend_jax.pixel_format import DTYPES, PixelFormat, check_finite

# What numpy raises for a damaged file: it parses the header as a Python literal.
NPY_ERRORS = (
    *(ValueError, TypeError, SyntaxError, LookupError, ArithmeticError, AttributeError),
    *(RuntimeError, MemoryError, EOFError, tokenize.TokenError),
)
_NPY = b"\x93NUMPY"
_PNG = b"\x89PNG\r\n\x1a\n"
# Where a PNG file says how many bits a value has, and of what its pixels are.
_PNG_BITS, _PNG_COLOUR = 24, 25
_PNG_GREY_ALPHA = 4
# Where RGB and alpha are among as many channels as OpenCV decodes: its order is BGR.
_ORDER = {1: (0,), 3: (2, 1, 0), 4: (2, 1, 0, 3)}
# Pillow's modes whose values are intensities of 8 bits, channel by channel.
_EIGHT_BIT_MODES = ("L", "LA", "RGB", "RGBA")


def is_npy(data: bytes) -> bool:
    """Whether the bytes begin as a .npy file."""
    return data.startswith(_NPY)


def decode_bands(data: bytes, name: str, pixels: PixelFormat) -> PixelsAndMissing:
    """The image in a file, and which of its values are missing; None of all files but TIFF.

    Args and errors: as for `decode_image`.
    """
    missing = None
    if is_npy(data):
        image = _decode_npy(data, name)
    elif is_tiff(data):
        with RasterImage(data, pixels, name) as raster:
            if raster.shape[0] * raster.shape[1] > MAX_PIXELS:
                raise ValueError(too_large(name))
            image, missing = raster.with_missing((slice(None), slice(None)))
    elif data.startswith(_PNG) and data[_PNG_BITS : _PNG_BITS + 1] == b"\x10":
        image = _decode_png(data, name)
    else:
        image = _decode_eight_bits(data, name)
    return check_format(image, name, pixels), missing


def check_format(image: np.ndarray, which: str, pixels: PixelFormat) -> Num[np.ndarray, "H W C"]:
    """The image itself, with an axis of channels, if its pixels are of the format.

    Args:
      which: what an error calls it.
    Raises: ValueError, saying what to do, for another shape or type, or for numbers that are none.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or 0 in image.shape:
        advice = "channels come last, and no side is 0"
    elif image.shape[2] != pixels.channels:
        advice = f"config.data.channels is {pixels.channels}, this image has {image.shape[2]}"
    elif image.dtype != pixels.dtype:
        advice = f"config.data.dtype is {pixels.dtype!r}: convert the image"
        if str(image.dtype) in DTYPES:
            advice += ", or train with that dtype and its value_range"
    else:
        check_finite(image, which)
        return image
    raise ValueError(f"{which} must be a {pixels}, got {image.dtype} {image.shape}; {advice}.")


def _decode_npy(data: bytes, name: str) -> np.ndarray:
    try:
        # A shape beyond 64 bits is an error of the file, not a warning.
        with np.errstate(over="raise"):
            image = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except NPY_ERRORS as error:
        why = f"{type(error).__name__}: {error}"[:200]
        raise ValueError(f"{name} is no whole .npy file of numbers ({why}); restore it.") from error
    return np.ascontiguousarray(image, image.dtype.newbyteorder("="))


def _decode_png(data: bytes, name: str) -> np.ndarray:
    """A PNG of 16 bits, which Pillow would cut to 8 if it has colours."""
    with open_image(data, name) as opened:
        if data[_PNG_COLOUR] == _PNG_GREY_ALPHA:
            raise ValueError(
                f"the image {name} is grey with transparency in 16 bits; save it without "
                "transparency, or as TIFF or .npy."
            )
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise ValueError(f"The image file {name} is truncated or damaged; restore the file.")
        image = np.atleast_3d(image)
        ordered = image[..., list(_ORDER[image.shape[2]])]
        return np.ascontiguousarray(upright_array(ordered, opened))


def _decode_eight_bits(data: bytes, name: str) -> np.ndarray:
    with open_image(data, name) as image:
        if image.mode not in _EIGHT_BIT_MODES:
            raise ValueError(
                f"the image {name} has pixels of Pillow's mode {image.mode}, which are no "
                "intensities of 8 bits (P is a palette); save it as grey, RGB or RGBA of 8 bits, "
                "or as TIFF or .npy."
            )
        if stretch(image) != 1:
            raise ValueError(
                f"the image {name} has values of fewer than 8 bits (or a PGM file's maxval other "
                "than 255), which would be scaled; save it with 8 or 16 bits, or as TIFF or .npy."
            )
        return _pixels(image, name)


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    try:
        # By itself: numpy takes an AttributeError for an object that is no array.
        image.load()
        return np.array(upright(image))
    except DECODE_ERRORS as error:
        raise ValueError(
            f"The image file {name} is truncated or damaged ({reason(error)}); restore the "
            "file or remove the image from the set."
        ) from error
