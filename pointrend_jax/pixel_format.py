"""What the pixels of images are: how many channels, of which type, and which values they may have.

A photo has three channels of uint8. Whatever reads, resizes or shows an image is told its format;
the networks are told the mean and the deviation of each channel and need nothing else.
"""

from typing import NamedTuple

import numpy as np

from pointrend_jax.structures import Config

MOST_CHANNELS = 13  # of Sentinel-2
DTYPES = ("uint8", "uint16", "float32")
# That are made floats at a time.
_ROWS = 64


class PixelFormat(NamedTuple):
    """The pixels of every image of a set, or of every image that a model takes.

    Attributes:
      channels: 1 to `MOST_CHANNELS`.
      dtype: one of `DTYPES`.
      value_range: the values that are shown as black and as white.
      rgb_channels: the places of red, green and blue among the channels; () if there are none.
    """

    channels: int = 3
    dtype: str = "uint8"
    value_range: tuple[float, float] = (0.0, 255.0)
    rgb_channels: tuple[int, ...] = (0, 1, 2)

    @property
    def is_photo(self) -> bool:
        """Whether files are read as photos are: anything that Pillow opens, made RGB."""
        return self.channels == 3 and self.dtype == "uint8"

    @property
    def is_rgb(self) -> bool:
        """Whether the channels are red, green and blue in this order."""
        return self.channels == 3 and self.rgb_channels == (0, 1, 2)

    def __str__(self) -> str:
        order = " array in RGB order" if self.is_photo and self.is_rgb else " array"
        return f"{self.dtype} [height, width, {self.channels}]{order}"

    @property
    def black(self) -> float:
        """The lower end of the range, or what of the type comes nearest to it."""
        low = self.value_range[0]
        if self.dtype == "float32":
            return low
        most = np.iinfo(self.dtype).max
        return float(min(max(round(low), 0), most))

    def as_bytes(self, values: np.ndarray) -> np.ndarray:
        """Values as float32 of 0 to 255, black to white; not clipped."""
        low, high = self.value_range
        return (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))

    def shown(self, image: np.ndarray) -> np.ndarray:
        """An image [H, W, C] as people see it, uint8 [H, W, 3]: RGB, or its first channel in grey.

        A photo is given back as it is.
        """
        if self == PHOTO:
            return image
        channels = list(self.rgb_channels or (0, 0, 0))
        shown = np.empty((*image.shape[:2], 3), np.uint8)
        # Part by part, as floats take the memory of many images.
        for start in range(0, len(image), _ROWS):
            rows = slice(start, start + _ROWS)
            shown[rows] = np.clip(np.rint(self.as_bytes(image[rows][..., channels])), 0, 255)
        return shown


PHOTO = PixelFormat()


def check_finite(image: np.ndarray, which: str) -> None:
    """Raises ValueError if a value of an image [H, W, C] is no number. Args: which, its name."""
    if image.dtype.kind != "f":
        return
    finite = np.isfinite(image)
    if not finite.all():
        row, column, channel = np.unravel_index(int(np.argmin(finite)), finite.shape)
        raise ValueError(
            f"{which} has {np.count_nonzero(~finite)} values that are NaN or infinite, the first "
            f"at row {row}, column {column}, channel {channel}; fill them, or declare in a GeoTIFF "
            "which value means that a pixel is missing (nodata)."
        )


def pixel_format(config: Config) -> PixelFormat:
    """That of `config.data`; photos where the configuration of an older checkpoint says nothing.

    Raises: ValueError, naming the field, if the fields do not belong together.
    """
    data = config.data
    channels, dtype = data.get("channels", 3), data.get("dtype", "uint8")
    value_range = tuple(float(v) for v in data.get("value_range", ()))
    rgb = tuple(data.get("rgb_channels", ()))
    if not value_range:
        if dtype != "uint8":
            raise ValueError(
                f"config.data.value_range must say which values of {dtype} images are black and "
                "white, such as (0.0, 4095.0) of a camera of 12 bits; `pointrend_jax inspect` "
                "measures them."
            )
        value_range = PHOTO.value_range
    if dtype != "float32" and not 0 <= value_range[0] < value_range[1] <= np.iinfo(dtype).max:
        raise ValueError(
            f"config.data.value_range must lie among the values of {dtype}, 0 to "
            f"{np.iinfo(dtype).max}, got {value_range}."
        )
    if any(place >= channels for place in rgb):
        raise ValueError(
            f"config.data.rgb_channels must be places among the {channels} channels, 0 to "
            f"{channels - 1}, got {rgb}."
        )
    for name in ("channel_mean", "channel_std"):
        given = data.get(name, ())
        if len(given) not in (0, channels):
            raise ValueError(
                f"config.data.{name} must have a number for each of the {channels} channels, got "
                f"{len(given)}; `pointrend_jax inspect` measures it."
            )
    if bool(data.get("channel_mean", ())) != bool(data.get("channel_std", ())):
        raise ValueError(
            "config.data.channel_mean is nothing without config.data.channel_std; give both, or "
            "none."
        )
    if not rgb and channels == 3:
        rgb = PHOTO.rgb_channels
    return PixelFormat(channels, dtype, (value_range[0], value_range[1]), rgb)
