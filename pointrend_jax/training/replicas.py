"""The replicas of a step: one a device, over all devices of all processes.

The same per-replica function runs under `pmap` and under `shard_map`; what differs is how state and
batches lie on the devices, and that is said here alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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


def build_replicas(
    strategy: str,
    task: Task,
    optimizer: optax.GradientTransformation,
    options: StepOptions = DEFAULT_OPTIONS,
) -> Replicas:
    """`train_step` on all devices, by "pmap" or "shard_map". Raises ValueError for another."""
    step = partial(train_step, task=task, optimizer=optimizer, options=options)
    if strategy == "pmap":
        mapped = jax.pmap(
            step, axis_name=DATA_AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=0
        )
        return Replicas(mapped, replicated, _place_for_pmap)
    if strategy == "shard_map":
        mesh = _mesh(jax.devices())
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
            jax.jit(mapped, donate_argnums=0),
            partial(_on_all, mesh),
            partial(_place_on_all, NamedSharding(mesh, split)),
        )
    raise ValueError(f"config.train.strategy must be 'pmap' or 'shard_map', got {strategy!r}.")


def replicated(tree: Any) -> Any:
    """A copy of `tree` on every device of this process, as a `pmap` with `out_axes=None` gives it.

    Given otherwise, the first two steps would compile one program each; and a step frees its input,
    which must not be an array that the caller still holds.
    """
    return _on_all(_mesh(jax.local_devices()), tree)


def local_value(x: Any) -> Any:
    """This process's own copy of an array that every device has."""
    return x if not isinstance(x, jax.Array) or x.is_fully_addressable else x.addressable_data(0)


def over_all_processes(tree: Any) -> Any:
    """The same replicated arrays as arrays over the devices of all processes, as orbax wants them.

    Without a copy where a device has its part already.
    """
    if jax.process_count() == 1:
        return tree
    return _on_all(_mesh(jax.devices()), tree, copy=False)


def replicated_like(tree: Any) -> Any:
    """Shapes of `tree` on every device of all processes: what a restored tree should be."""
    everywhere = NamedSharding(_mesh(jax.devices()), PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), tree)


def shard(batch: Any, num_devices: int) -> Any:
    """[B, ...] to [devices, B / devices, ...].

    Raises: ValueError if the batch does not divide by the devices.
    """

    def split(x: Array) -> Array:
        check_divides(x.shape[0], num_devices)
        return x.reshape(num_devices, x.shape[0] // num_devices, *x.shape[1:])

    return jax.tree.map(split, batch)


def check_divides(num_images: int, num_devices: int) -> None:
    """Raises ValueError unless every device gets as many images."""
    if num_images % num_devices:
        raise ValueError(
            f"a batch of {num_images} images does not divide by {num_devices} devices; use "
            f"a batch size that is a multiple of {num_devices}."
        )


def _mesh(devices: list[Any]) -> Mesh:
    return Mesh(np.array(devices), (DATA_AXIS,))


def _on_all(mesh: Mesh, tree: Any, *, copy: bool = True) -> Any:
    everywhere = NamedSharding(mesh, PartitionSpec())
    local = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]

    def put(x: Any) -> Array:
        # A restored array lies on the devices of all processes, of which each reads its own part.
        x = local_value(x)
        parts = [jax.device_put(jnp.copy(x) if copy else x, device) for device in local]
        return jax.make_array_from_single_device_arrays(np.shape(x), everywhere, parts)

    return jax.tree.map(put, tree)


def _place_for_pmap(batch: Any) -> Any:
    here = NamedSharding(_mesh(jax.local_devices()), PartitionSpec(DATA_AXIS))
    return jax.device_put(shard(batch, jax.local_device_count()), here)


def _place_on_all(sharding: NamedSharding, batch: Any) -> Any:
    def place(x: Array) -> Array:
        check_divides(x.shape[0], jax.local_device_count())
        return jax.make_array_from_process_local_data(sharding, x)

    return jax.tree.map(place, batch)
