"""Mean, deviation and range of each channel over the images of a set, in the files' own values."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pointrend_jax.data.rasters import PixelsAndMissing
from pointrend_jax.messages import first

# Of each image so many values a channel decide the range of most.
_SAMPLED = 10_000
# The shares of the values that are below and above the range of most.
_BELOW, _ABOVE = 0.005, 0.995


class ChannelStatistics(NamedTuple):
    """By channel, over the values that are not missing.

    Attributes:
      mean, std: mean and deviation.
      low, high: the lowest and the highest value.
      most: the range of 99 % of the values of all channels together, estimated.
      missing: the share of missing values.
      images: how many were read.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    most: tuple[float, float]
    missing: tuple[float, ...]
    images: int


def channel_statistics(images: Iterable[PixelsAndMissing]) -> ChannelStatistics:
    """Of at least one image; all have the same channels. Each is read once and not kept.

    Raises: ValueError, naming the channels, if all values of a channel are missing.
    """
    number, total, count, mean, squares = 0, 0, np.zeros(1), np.zeros(1), np.zeros(1)
    low, high, sampled = np.full(1, np.inf), np.full(1, -np.inf), []
    for image, missing in images:
        values = image.reshape(-1, image.shape[2]).astype(np.float64)
        there = np.ones(values.shape, bool) if missing is None else ~missing.reshape(values.shape)
        # Sums over all are pairwise, and a few times as fast.
        where = True if missing is None else there
        number, total, added = number + 1, total + len(values), there.sum(axis=0)
        own_mean = values.sum(axis=0, where=where) / np.maximum(added, 1)
        # Sums of squares around the means, so that a large mean costs no digits (Chan et al. 1979).
        apart = own_mean - mean
        own_squares = ((values - own_mean) ** 2).sum(axis=0, where=where)
        both = np.maximum(count + added, 1)
        squares = squares + own_squares + apart**2 * (count * added / both)
        mean, count = mean + apart * (added / both), count + added
        low = np.minimum(low, values.min(axis=0, where=where, initial=np.inf))
        high = np.maximum(high, values.max(axis=0, where=where, initial=-np.inf))
        known = np.flatnonzero(there.any(axis=1))
        known = known[:: max(-(-len(known) // _SAMPLED), 1)]
        sampled.append(values[known][there[known]].astype(np.float32))
    _check_present(count, number)
    most = np.quantile(np.concatenate(sampled), (_BELOW, _ABOVE))
    return ChannelStatistics(
        *(tuple(values.tolist()) for values in (mean, np.sqrt(squares / count), low, high)),
        most=(float(most[0]), float(most[1])),
        missing=tuple((1 - count / total).tolist()),
        images=number,
    )


def _check_present(count: np.ndarray, number: int) -> None:
    absent = [str(channel) for channel in np.flatnonzero(count == 0)]
    if absent:
        raise ValueError(
            f"every value of channel {first(absent)} is missing (nodata, or a mask in the file) in "
            f"all {number} images that were measured; leave such channels out of the files, or "
            "correct what the files declare as missing (gdal_edit.py -unsetnodata FILE)."
        )


def in_words(statistics: ChannelStatistics, total: int) -> list[str]:
    """Lines for people, and those that can be pasted into a config. Args: total, images there."""
    of = "" if statistics.images == total else f" {statistics.images} of"
    lines = [f"pixels of{of} {total} training images:"]
    by_channel = (statistics.mean, statistics.std, statistics.low, statistics.high)
    rows = zip(*by_channel, statistics.missing, strict=True)
    for channel, (mean, std, low, high, missing) in enumerate(rows):
        constant = " (the same everywhere: it tells nothing)" if std == 0 else ""
        without = f"; {missing:.1%} are missing and not counted" if missing else ""
        lines.append(
            f"  channel {channel}: mean {mean:.6g}, deviation {std:.6g}, from {low:g} to "
            f"{high:g}{constant}{without}"
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
