"""The replicas of a step: one a device, over all devices of all processes.

The same per-replica function runs under `pmap` and under `shard_map`; what differs is how state and
batches lie on the devices, and that is said here alone.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import NamedSharding, PartitionSpec

from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.devices.placement import check_divides, data_mesh, on_all, replicated, shard
from pointrend_jax.structures import DATA_AXIS, Array
from pointrend_jax.tasks.task import Task
from pointrend_jax.training.step import DEFAULT_OPTIONS, StepFunction, StepOptions, train_step


class Replicas(NamedTuple):
    """A step on all devices.

    Attributes:
      step: (state, batch, key) to the state after it and the losses; takes what `replicate` and
        `place` give, and frees the state it is given.
      replicate: a copy of a tree on every device.
      place: this process's images [B, ...] on its devices, an equal part on each; does not wait
        for the copy.
    """

    step: StepFunction
    replicate: Callable[[Any], Any]
    place: Callable[[Any], Any]


def goes_by_pmap(strategy: str, *, deterministic: bool = False) -> bool:
    """Whether `build_replicas` makes a step by `pmap`, whose batches are [devices, ...]."""
    return strategy == "pmap" and not deterministic and jax.default_backend() == "cpu"


def build_replicas(
    strategy: str,
    task: Task,
    optimizer: optax.GradientTransformation,
    options: StepOptions = DEFAULT_OPTIONS,
    devices: Sequence[Any] | None = None,
) -> Replicas:
    """`train_step` on all devices, by "pmap" or "shard_map".

    `pmap` hands no options to the compiler, so a step on a GPU or a TPU, whose compiler has some,
    and a deterministic one go by `shard_map` whatever `strategy` says.

    Args:
      devices: of `shard_map`, instead of all that there are; for a step that is only compiled they
        need not be there.
    Raises: ValueError as `check_strategy`.
    """
    check_strategy(strategy)
    step = partial(train_step, task=task, optimizer=optimizer, options=options)
    of_compiler = compiler_options(deterministic=options.deterministic)
    if goes_by_pmap(strategy, deterministic=options.deterministic):
        mapped = jax.pmap(
            step, axis_name=DATA_AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=0
        )
        return Replicas(mapped, replicated, _place_for_pmap)
    mesh = data_mesh(list(devices or jax.devices()))
    everywhere, split = PartitionSpec(), PartitionSpec(DATA_AXIS)
    mapped = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(everywhere, split, everywhere),
        out_specs=(everywhere, everywhere),
        # The step adds the gradients itself; with the check on, they would be added twice.
        check_vma=False,
    )
    return Replicas(
        jax.jit(mapped, donate_argnums=0, compiler_options=of_compiler),
        partial(on_all, mesh),
        partial(_place_on_all, NamedSharding(mesh, split)),
    )


def check_strategy(strategy: str) -> None:
    """Raises ValueError for a strategy that there is not."""
    if strategy not in ("pmap", "shard_map"):
        raise ValueError(f"config.train.strategy must be 'pmap' or 'shard_map', got {strategy!r}.")


def _place_for_pmap(batch: Any) -> Any:
    here = NamedSharding(data_mesh(jax.local_devices()), PartitionSpec(DATA_AXIS))
    return jax.device_put(shard(batch, jax.local_device_count()), here)


def _place_on_all(sharding: NamedSharding, batch: Any) -> Any:
    def place(x: Array) -> Array:
        check_divides(x.shape[0], jax.local_device_count())
        return jax.make_array_from_process_local_data(sharding, x)

    return jax.tree.map(place, batch)
