"""An image that a program hands over: what is accepted, and the canvas it is predicted on."""

from collections.abc import Sequence

import numpy as np

from pointrend_jax.data.batches.transforms import choose_bucket, padded_hw, resized_hw


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


def check_images(images: Sequence[np.ndarray]) -> None:
    """Raises ValueError, saying which and what to do, unless all are uint8 [H, W, 3]."""
    if not isinstance(images, Sequence) or isinstance(images, str | bytes):
        raise ValueError(
            "images must be a uint8 [height, width, 3] array or a sequence of such arrays, got "
            f"{type(images).__name__}; pointrend_jax.data.images.read_image reads a file, "
            "np.asarray(picture.convert('RGB')) takes a Pillow image."
        )
    for position, image in enumerate(images):
        check_image(image, f"image {position}")


def check_image(image: np.ndarray, which: str) -> None:
    """Raises ValueError, saying what to do about it, unless `image` is uint8 [H, W, 3]."""
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"{which} must be a uint8 [height, width, 3] array in RGB order, got "
            f"{type(image).__name__}; make an array of it with np.asarray."
        )
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
        return
    raise ValueError(
        f"{which} must be a uint8 [height, width, 3] array in RGB order, got {image.dtype} "
        f"{image.shape}; {advice}."
    )
