"""Any image file to pixels; photos as Detectron2 reads them (`detection_utils.read_image`).

Of a photo EXIF rotation is applied, transparency is dropped, 16 bits become their upper 8; images
of other pixels are read by `bands.py`. Every way in which a file can be unreadable is a ValueError
that names it; a fault of what a file says beside its pixels (EXIF, XMP) is none. Nothing here
resizes.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Num, UInt8, UInt16
from PIL import Image

from pointrend_jax.data.bands import decode_bands, is_npy
from pointrend_jax.data.pillow_file import (
    DECODE_ERRORS,
    open_image,
    reason,
    stretch,
    upright,
    upright_hw,
)
from pointrend_jax.data.rasters import PixelsAndMissing
from pointrend_jax.pixel_format import PHOTO, PixelFormat

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
# Photos alone are stored so: around an edge come values that nobody wrote.
_LOSSY_FORMATS = ("JPEG", "MPO")
_LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")
_MAP_MODES = ("1", "L", "P", "I", *_SIXTEEN_BIT_MODES)
# Cameras of 12 bits store their values in 16, unscaled.
_TWELVE_BITS = 2**12


def decode_image(data: bytes, name: str, pixels: PixelFormat = PHOTO) -> Num[np.ndarray, "H W C"]:
    """Decodes an encoded image: a photo of any common format and mode, or what `bands.py` reads.

    Args:
      name: what an error calls the image, normally its path.
      pixels: what it must have; a photo is made so.
    Raises: ValueError if the bytes are no image, are damaged, hold other pixels or more than
      `MAX_PIXELS` (pillow_file.py).
    """
    return decode_with_missing(data, name, pixels)[0]


def decode_with_missing(data: bytes, name: str, pixels: PixelFormat) -> PixelsAndMissing:
    """An encoded image, and which of its values are missing, that is made black.

    None if its file cannot say so; of photos every value counts. Args and errors: as for
    `decode_image`.
    """
    if not pixels.is_photo or is_npy(data):
        return decode_bands(data, name, pixels)
    with open_image(data, name) as image:
        return rgb_pixels(image, name), None


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
        return _to_rgb(upright(image))
    except DECODE_ERRORS as error:
        raise ValueError(
            f"The image file {name} is truncated or damaged ({reason(error)}); restore the "
            "file or remove the image from the set."
        ) from error


def decode_map(data: bytes, name: str) -> Integer[np.ndarray, "H W"]:
    """Decodes an image of one channel whose values are ids, not colours: 1 to 8, 16 or 32 bits.

    Palette images give their indices, images of one bit 0 and 1.
    Raises: ValueError as `decode_image`, or if there are several channels or no whole numbers, or
      if the file does not keep values as they were written.
    """
    with open_image(data, name) as image:
        _check_keeps_values(image, name)
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
        stretched = int(stretch(image))
        try:
            # By itself: numpy takes an AttributeError for an object that is no array.
            image.load()
            values = np.array(image) if stretched == 1 else np.array(image) // stretched
        except DECODE_ERRORS as error:
            raise ValueError(
                f"The label image {name} is truncated or damaged ({reason(error)}); restore the "
                "file."
            ) from error
    return values.astype(np.uint8) if values.dtype == bool else values


def _check_keeps_values(image: Image.Image, name: str) -> None:
    compression = image.info.get("compression") if image.format == "TIFF" else None
    if image.format in _LOSSY_FORMATS or compression in _LOSSY_COMPRESSIONS:
        raise ValueError(
            f"The label image {name} is stored as JPEG or WebP, which change the values around "
            "every edge; make it anew from its source and save it as PNG."
        )
    if image.format == "PPM" and stretch(image) != 1:
        raise ValueError(
            f"The label image {name} has a maxval, the highest value that its header allows, which "
            "is not 255 or 65535, so that its values would be scaled; save it as PNG."
        )


def encoded_hw(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of an encoded image as it is stored, from its header alone."""
    with open_image(data, name) as image:
        return image.height, image.width


def photo_hw(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of a photo as `decode_image` gives it, upright; of a JPEG from its header.

    Raises: ValueError as `decode_image` of a file that is no image; damaged pixels stay unseen.
    """
    with open_image(data, name) as image:
        if image.format == "TIFF":
            # Older versions of Pillow turn the size of these only as they are decoded.
            height, width, _ = rgb_pixels(image, name).shape
            return height, width
        return upright_hw(image)


def read_image(path: Path | str, pixels: PixelFormat = PHOTO) -> Num[np.ndarray, "H W C"]:
    """Reads and decodes an image file; raises ValueError if it is missing or no whole image.

    Args:
      pixels: as for `decode_image`.
    """
    return decode_image(read_bytes(Path(path)), str(path), pixels)


def read_bytes(path: Path) -> bytes:
    """The content of a file; raises ValueError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"The image file {path} cannot be read ({error.strerror}); check the path."
        ) from error


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
