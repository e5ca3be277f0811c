"""How an array is laid out in Detectron2 and in our modules: each layout with its inverse."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Layout(NamedTuple):
    """load: (theirs, our shape) to ours. store: ours to theirs. their_shape: from our shape."""

    load: Callable[[np.ndarray, Shape], np.ndarray]
    store: Callable[[np.ndarray], np.ndarray]
    their_shape: Callable[[Shape], Shape]


def _permuted(axes: Shape) -> Layout:
    """axes: of theirs, in our order."""
    inverse = tuple(int(i) for i in np.argsort(axes))
    return Layout(
        load=lambda theirs, _: theirs.transpose(axes),
        store=lambda ours: ours.transpose(inverse),
        their_shape=lambda shape: tuple(shape[i] for i in inverse),
    )


VECTOR = Layout(lambda theirs, _: theirs, lambda ours: ours, lambda shape: shape)
# OIHW and HWIO; a grouped kernel likewise, with I the inputs of a group.
CONV = _permuted((2, 3, 1, 0))
# (out, in) and (in, out).
DENSE = _permuted((1, 0))
# A 1x1 convolution over points, (out, in, 1), is a dense layer.
POINTWISE = Layout(
    load=lambda theirs, _: theirs[..., 0].T,
    store=lambda ours: ours.T[..., None],
    their_shape=lambda shape: (shape[1], shape[0], 1),
)
# Theirs (in, out, H, W) scatters each input; Flax correlates a dilated map: the kernel is turned.
CONV_TRANSPOSE = Layout(
    load=lambda theirs, _: theirs.transpose(2, 3, 0, 1)[::-1, ::-1],
    store=lambda ours: ours[::-1, ::-1].transpose(2, 3, 0, 1),
    their_shape=lambda shape: (shape[2], shape[3], shape[0], shape[1]),
)


def flattened_inputs(channels: int) -> Layout:
    """A dense kernel over a flattened square map: theirs flatten (C, H, W), ours (H, W, C)."""

    def load(theirs: np.ndarray, shape: Shape) -> np.ndarray:
        side = math.isqrt(shape[0] // channels)
        maps = theirs.reshape(-1, channels, side, side)
        return maps.transpose(2, 3, 1, 0).reshape(shape)

    def store(ours: np.ndarray) -> np.ndarray:
        side = math.isqrt(ours.shape[0] // channels)
        maps = ours.reshape(side, side, channels, -1)
        return maps.transpose(3, 2, 0, 1).reshape(ours.shape[1], -1)

    return Layout(load, store, lambda shape: (shape[1], shape[0]))


def flattened_outputs(channels: int) -> Layout:
    """A kernel or bias whose outputs are a square map: theirs (C, H, W), ours (H, W, C)."""

    def load(theirs: np.ndarray, shape: Shape) -> np.ndarray:
        side = math.isqrt(shape[-1] // channels)
        maps = theirs.reshape(channels, side, side, *theirs.shape[1:])
        maps = np.moveaxis(maps, 0, 2).reshape(-1, *theirs.shape[1:])
        return maps.T

    def store(ours: np.ndarray) -> np.ndarray:
        side = math.isqrt(ours.shape[-1] // channels)
        maps = ours.T.reshape(side, side, channels, *ours.shape[:-1])
        return np.moveaxis(maps, 2, 0).reshape(-1, *ours.shape[:-1])

    return Layout(load, store, lambda shape: shape[::-1])
