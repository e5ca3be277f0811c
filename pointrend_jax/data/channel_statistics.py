"""Mean, deviation and range of each channel over the images of a set, in the files' own values."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

# Of each image so many values a channel decide the range of most.
_SAMPLED = 10_000
# The shares of the values that are below and above the range of most.
_BELOW, _ABOVE = 0.005, 0.995


class ChannelStatistics(NamedTuple):
    """By channel, over all pixels.

    Attributes:
      mean, std: mean and deviation.
      low, high: the lowest and the highest value.
      most: the range of 99 % of the values of all channels together, estimated.
      images: how many were read.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    most: tuple[float, float]
    images: int


def channel_statistics(images: Iterable[Num[np.ndarray, "_H _W _C"]]) -> ChannelStatistics:
    """Of at least one image; all have the same channels. Each is read once and not kept."""
    number, count, mean, squares = 0, 0, np.zeros(1), np.zeros(1)
    low, high, sampled = np.full(1, np.inf), np.full(1, -np.inf), []
    for image in images:
        values = image.reshape(-1, image.shape[2]).astype(np.float64)
        number, added = number + 1, len(values)
        own_mean = values.mean(axis=0)
        # Sums of squares around the means, so that a large mean costs no digits (Chan et al. 1979).
        apart = own_mean - mean
        own_squares = ((values - own_mean) ** 2).sum(axis=0)
        squares = squares + own_squares + apart**2 * (count * added / (count + added))
        mean, count = mean + apart * (added / (count + added)), count + added
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        sampled.append(values[:: -(-added // _SAMPLED)].astype(np.float32).ravel())
    most = np.quantile(np.concatenate(sampled), (_BELOW, _ABOVE))
    return ChannelStatistics(
        *(tuple(values.tolist()) for values in (mean, np.sqrt(squares / count), low, high)),
        most=(float(most[0]), float(most[1])),
        images=number,
    )


def in_words(statistics: ChannelStatistics, total: int) -> list[str]:
    """Lines for people, and those that can be pasted into a config. Args: total, images there."""
    of = "" if statistics.images == total else f" {statistics.images} of"
    lines = [f"pixels of{of} {total} training images:"]
    rows = zip(statistics.mean, statistics.std, statistics.low, statistics.high, strict=True)
    for channel, (mean, std, low, high) in enumerate(rows):
        constant = " (the same everywhere: it tells nothing)" if std == 0 else ""
        lines.append(
            f"  channel {channel}: mean {mean:.6g}, deviation {std:.6g}, from {low:g} to "
            f"{high:g}{constant}"
        )
    low, high = statistics.most
    if high > low:
        lines.append("  99 % of the values of all channels lie between those of value_range:")
        lines.append(f"    config.data.value_range = ({low:.6g}, {high:.6g})")
    lines.append(f"    config.data.channel_mean = {_pasted(statistics.mean)}")
    # A channel without any deviation is divided by one.
    lines.append(f"    config.data.channel_std = {_pasted([s or 1.0 for s in statistics.std])}")
    return lines


def _pasted(values: Iterable[float]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)},)"
