"""SSD's colour augmentation: brightness, contrast, saturation and hue, each half of the time.

Each step is a pure function of its random value, with the rounding of Detectron2's
ColorAugSSDTransform (projects/PointRend, color_augmentation.py): uint8 after every step, HSV of
OpenCV. Detectron2 turns RGB into BGR before and back after; the same steps on RGB are equal.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Num, UInt8

from pointrend_jax.pixel_format import PHOTO, PixelFormat

Pixels = UInt8[np.ndarray, "H W 3"]

_BRIGHTNESS = 32.0
_LOW, _HIGH = 0.5, 1.5  # factors of contrast and saturation
_HUE = 18  # of 180, OpenCV's circle


class ColorChange(NamedTuple):
    """What happens to the colours of one image; None leaves a step out.

    Attributes:
      brightness: added to every value, -32..32.
      contrast, saturation: factors, 0.5..1.5.
      hue: added, -18..18 of a circle of 180.
      contrast_first: contrast before saturation and hue, or after them.
    """

    brightness: float | None
    contrast: float | None
    saturation: float | None
    hue: int | None
    contrast_first: bool


def draw_color_change(rng: np.random.Generator) -> ColorChange:
    """Every step with probability 0.5, its value uniform."""
    used = rng.random(5) < 0.5
    brightness = rng.uniform(-_BRIGHTNESS, _BRIGHTNESS)
    contrast, saturation = rng.uniform(_LOW, _HIGH, 2).tolist()
    hue = int(rng.integers(-_HUE, _HUE, endpoint=True))
    return ColorChange(
        brightness=brightness if used[0] else None,
        contrast=contrast if used[1] else None,
        saturation=saturation if used[2] else None,
        hue=hue if used[3] else None,
        contrast_first=bool(used[4]),
    )


def change_color_channels(
    image: Num[np.ndarray, "H W C"], change: ColorChange, pixels: PixelFormat
) -> Num[np.ndarray, "H W C"]:
    """The steps on the red, green and blue of an image; its other channels stay as they are.

    Values of another type than uint8 are changed as numbers of 0 to 255 that need not be whole, so
    those beyond the format's range are clipped to it where anything changes.

    Args:
      pixels: of the image; has `rgb_channels`.
    """
    if pixels == PHOTO:
        return change_color(np.ascontiguousarray(image), change)
    places = list(pixels.rgb_channels)
    colours = np.ascontiguousarray(image[..., places])
    if image.dtype == np.uint8:
        changed = change_color(colours, change)
    elif change._replace(contrast_first=False) == ColorChange(None, None, None, None, False):
        return image
    else:
        low, high = pixels.value_range
        bytes_ = np.clip(pixels.as_bytes(colours), 0, 255)
        changed = _change_numbers(bytes_, change) * np.float32((high - low) / 255) + low
        changed = np.rint(changed) if image.dtype.kind == "u" else changed
    image = image.copy()
    image[..., places] = changed.astype(image.dtype)
    return image


def change_color(image: Pixels, change: ColorChange) -> Pixels:
    """The steps in their order."""
    if change.brightness is not None:
        image = change_brightness(image, change.brightness)
    if change.contrast_first and change.contrast is not None:
        image = change_contrast(image, change.contrast)
    if change.saturation is not None:
        image = change_saturation(image, change.saturation)
    if change.hue is not None:
        image = change_hue(image, change.hue)
    if not change.contrast_first and change.contrast is not None:
        image = change_contrast(image, change.contrast)
    return image


def change_brightness(image: Pixels, delta: float) -> Pixels:
    return _to_bytes(image.astype(np.float32) + np.float32(delta))


def change_contrast(image: Pixels, factor: float) -> Pixels:
    return _to_bytes(image.astype(np.float32) * np.float32(factor))


def change_saturation(image: Pixels, factor: float) -> Pixels:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = _to_bytes(hsv[..., 1].astype(np.float32) * np.float32(factor))
    return _from_hsv(hsv)


def change_hue(image: Pixels, delta: int) -> Pixels:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + delta) % 180
    return _from_hsv(hsv)


def _change_numbers(
    image: Float32[np.ndarray, "H W 3"], change: ColorChange
) -> Float32[np.ndarray, "H W 3"]:
    """`change_color` without its rounding. Args: image, 0 to 255."""
    contrast = np.float32(1.0 if change.contrast is None else change.contrast)
    first, last = (contrast, 1.0) if change.contrast_first else (1.0, contrast)
    image = np.clip(image + np.float32(change.brightness or 0.0), 0, 255)
    image = np.clip(image * np.float32(first), 0, 255)
    if change.saturation is not None or change.hue is not None:
        # Of floats OpenCV has the hue in degrees, and the others from 0 to 1.
        hsv = cv2.cvtColor(image / np.float32(255), cv2.COLOR_RGB2HSV)
        factor = 1.0 if change.saturation is None else change.saturation
        hsv[..., 1] = np.clip(hsv[..., 1] * np.float32(factor), 0, 1)
        hsv[..., 0] = (hsv[..., 0] + 2 * (change.hue or 0)) % 360
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)
    return np.clip(image * np.float32(last), 0, 255)


def _from_hsv(hsv: np.ndarray) -> Pixels:
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Clipped to 0..255 and cut off, not rounded, as the reference does."""
    return np.clip(values, 0, 255).astype(np.uint8)
