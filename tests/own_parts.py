"""The tables of `pointrend_jax.extend` as a new process has them, and parts quick to trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from pointrend_jax import extend
from pointrend_jax.registry import Registry
from pointrend_jax.structures import Array

TABLES = {name: part for name, part in vars(extend).items() if isinstance(part, Registry)}


@contextmanager
def only_built_in() -> Iterator[None]:
    """Within, nobody has added a part."""
    before = {name: dict(table._own) for name, table in TABLES.items()}
    try:
        for table in TABLES.values():
            table._own.clear()
        yield
    finally:
        for name, table in TABLES.items():
            table._own.clear()
            table._own.update(before[name])


class Patches(nn.Module):
    """A backbone whose windows lie side by side, so that none reaches into the padding."""

    names: tuple[str, ...] = ("res2", "res3", "res4", "res5")
    strides: tuple[int, ...] = (4, 2, 2, 2)
    dtype: Any = None
    frozen: tuple[str, ...] = ()

    def frozen_modules(self) -> tuple[str, ...]:
        return self.frozen

    @nn.compact
    def __call__(self, x: Array, padded_hw: Array) -> dict[str, Array]:
        maps = {}
        for name, stride in zip(self.names, self.strides, strict=True):
            step = (stride, stride)
            x = nn.Conv(8, step, step, "VALID", dtype=self.dtype or x.dtype, name=f"{name}_conv")(x)
            maps[name] = x
        return maps


def spec(module: Any) -> extend.BackboneSpec:
    """Of a backbone that is always that module."""
    mean, deviation = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)
    return extend.BackboneSpec(lambda _: module, mean, deviation, bgr=False)


class Levels(nn.Module):
    """A semantic head: a classifier of one map."""

    num_classes: int
    level: str = "p3"
    stride: int = 8

    @nn.compact
    def __call__(self, maps: dict[str, Array], padded_hw: Array, dropout_keys: Any = None) -> Array:
        return nn.Conv(self.num_classes, (1, 1), name="predictor")(
            maps[self.level].astype(jnp.float32)
        )
