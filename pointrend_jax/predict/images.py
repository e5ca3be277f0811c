"""An image that a program hands over: what is accepted, and the canvas it is predicted on."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from pointrend_jax.data.bands import check_format
from pointrend_jax.data.batches.transforms import choose_bucket, padded_hw, resized_hw
from pointrend_jax.data.images import read_image, rgb_pixels
from pointrend_jax.pixel_format import PHOTO, PixelFormat
from pointrend_jax.predict.npy_file import ARRAY, NpyImage
from pointrend_jax.predict.sources import download, is_address
from pointrend_jax.storage import local_path

# [H, W, C] as the model's pixel format says, or what `read_one` makes such an array of.
ImageLike = np.ndarray | jax.Array | Image.Image | Path | str


def choose_canvas(
    image_hw: tuple[int, int], min_size: int, max_size: int, buckets: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """The (height, width) that an original image of `image_hw` is placed on when it is resized.

    The smallest bucket that holds it. Where none does, the short side is `min_size` and the long
    one doubles from there, up to `max_size`, until the image fits: a few canvases for every size
    there is, and at most about twice the area that the longest such image needs.

    Args:
      min_size, max_size: as for `resized_hw`, in pixels.
    Raises: ValueError if a side of the image is less than 1.
    """
    if min(image_hw) < 1:
        raise ValueError(f"an image must be at least 1 pixel high and wide, got {image_hw}.")
    hw = resized_hw(image_hw, min_size, max_size)
    bucket = choose_bucket(hw, buckets)
    if bucket is not None:
        return bucket
    short, longest = padded_hw((min(min_size, max_size), max_size))
    long = short
    while long < max(hw):
        long = min(2 * long, longest)
    return (long, short) if hw[0] > hw[1] else (short, long)


def read_images(images: Sequence[object], pixels: PixelFormat = PHOTO) -> list[np.ndarray]:
    """`read_one` of each, which an error calls by its position."""
    return [read_one(image, f"image {i}", pixels) for i, image in enumerate(images)]


def read_one(image: object, which: str, pixels: PixelFormat = PHOTO) -> np.ndarray:
    """The pixels of an image in any form that is accepted: of photos uint8 [H, W, 3] in RGB order.

    Args:
      image: such an array, of numpy or jax; where photos are meant a Pillow image, which is turned
        upright and made RGB as a file is; the path of an image or .npy file; the https address of
        an image.
      which: what an error calls it.
      pixels: what it must have.
    Raises: ValueError, saying what to do about it, for anything else, or what cannot be read.
    """
    if isinstance(image, str) and is_address(image):
        with tempfile.TemporaryDirectory() as folder:
            return read_file(download(image, Path(folder)), pixels)
    if isinstance(image, (str, Path)):
        return read_file(local_path(image), pixels)
    if isinstance(image, Image.Image) and pixels.is_photo:
        return rgb_pixels(image, which)
    if isinstance(image, jax.Array):
        image = np.asarray(image)
    return check_image(image, which, pixels)


def read_file(path: Path, pixels: PixelFormat = PHOTO) -> np.ndarray:
    """The image of a file as [H, W, C]. Raises ValueError if it is none, or has other pixels."""
    if path.suffix != ARRAY:
        return read_image(path, pixels)
    return NpyImage(path, pixels)[:, :]


def check_image(image: object, which: str, pixels: PixelFormat = PHOTO) -> np.ndarray:
    """`image` itself if it is an array of numpy of these pixels.

    Args:
      which: what an error calls it.
    Raises: ValueError, saying what to do about it, for anything else.
    """
    if not isinstance(image, np.ndarray):
        or_pillow = ", a Pillow image" if pixels.is_photo else ""
        raise ValueError(
            f"{which} must be a {pixels}{or_pillow} or a "
            f"path, got {type(image).__name__}; make an array of it with np.asarray, "
            "or give several images as a list."
        )
    if not pixels.is_photo and image.ndim != 4:
        return check_format(image, which, pixels)
    if image.ndim == 4:
        advice = "give a batch as a sequence: list(images)"
    elif image.ndim == 2 or image.shape[2:] == (1,):
        advice = "repeat the channel of a grey image: np.dstack([grey] * 3)"
    elif image.shape[2:] == (4,):
        advice = "leave out the alpha channel: image[..., :3]"
    elif image.shape[2:] != (3,) or 0 in image.shape:
        advice = "channels come last, and no side is 0"
    elif image.dtype != np.uint8:
        advice = "bring values of 0 to 1 to bytes: (image * 255).round().astype(np.uint8)"
    else:
        return image
    raise ValueError(f"{which} must be a {pixels}, got {image.dtype} {image.shape}; {advice}.")
