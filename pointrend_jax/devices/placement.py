"""Where arrays lie: a copy on every device, or an equal part of a batch on each."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pointrend_jax.structures import DATA_AXIS, Array


def replicated(tree: Any) -> Any:
    """A copy of `tree` on every device of this process, as a `pmap` with `out_axes=None` gives it.

    Given otherwise, the first two steps would compile one program each; and a step frees its input,
    which must not be an array that the caller still holds.
    """
    return on_all(data_mesh(jax.local_devices()), tree)


def local_value(x: Any) -> Any:
    """This process's own copy of an array that every device has."""
    return x if not isinstance(x, jax.Array) or x.is_fully_addressable else x.addressable_data(0)


def to_be_saved(tree: Any) -> Any:
    """The same replicated arrays as orbax wants them: over the devices of all processes, without a
    copy where a device has its part already.

    Of one process alone it gets one copy. It would take an equal part from every device, which
    compiles a program for every shape, and is of use only where several processes write.
    """
    if jax.process_count() == 1:
        return jax.tree.map(_first_copy, tree)
    return on_all(data_mesh(jax.devices()), tree, copy=False)


def _first_copy(x: Any) -> Any:
    return x.addressable_data(0) if isinstance(x, jax.Array) else x


def replicated_like(tree: Any) -> Any:
    """Shapes of `tree` on every device of all processes: what a restored tree should be."""
    everywhere = NamedSharding(data_mesh(jax.devices()), PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), tree)


def shard(batch: Any, num_devices: int) -> Any:
    """[B, ...] to [devices, B / devices, ...].

    Raises: ValueError if the batch does not divide by the devices.
    """

    def split(x: Array) -> Array:
        check_divides(x.shape[0], num_devices)
        return x.reshape(num_devices, x.shape[0] // num_devices, *x.shape[1:])

    return jax.tree.map(split, batch)


def split(batch: Any) -> Any:
    """[B, ...] of numpy, an equal part on each device of this process.

    Raises: ValueError if the batch does not divide by the devices.
    """
    mesh = data_mesh(jax.local_devices())
    for x in jax.tree.leaves(batch):
        check_divides(x.shape[0], mesh.size)
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec(DATA_AXIS)))


def check_divides(num_images: int, num_devices: int) -> None:
    """Raises ValueError unless every device gets as many images."""
    if num_images % num_devices:
        raise ValueError(
            f"a batch of {num_images} images does not divide by {num_devices} devices; use "
            f"a batch size that is a multiple of {num_devices}."
        )


def data_mesh(devices: list[Any]) -> Mesh:
    """A mesh with the one axis that batches are split along."""
    return Mesh(np.array(devices), (DATA_AXIS,))


def on_all(mesh: Mesh, tree: Any, *, copy: bool = True) -> Any:
    """`tree` on every device of the mesh; each process gives its own devices their part."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    local = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]

    def put(x: Any) -> Array:
        # A restored array lies on the devices of all processes, of which each reads its own part.
        x = local_value(x)
        # By the runtime: `jnp.copy` would compile a program for every shape.
        parts = [jax.device_put(x, device, may_alias=not copy) for device in local]
        return jax.make_array_from_single_device_arrays(np.shape(x), everywhere, parts)

    return jax.tree.map(put, tree)
