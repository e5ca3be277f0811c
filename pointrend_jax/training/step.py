"""One training step: pure, for one replica, over a named axis of devices."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pointrend_jax.structures import DATA_AXIS, Array, InstanceBatch, SemanticBatch
from pointrend_jax.tasks.task import Task

Batch = InstanceBatch | SemanticBatch


class TrainState(NamedTuple):
    """Everything that a step changes, and the fixed statistics it reads.

    step: scalar, steps done. params: trained and stage-frozen parameters. buffers: batch
    statistics.
    """

    step: Array
    params: Any
    buffers: Any
    opt_state: Any


def train_step(
    state: TrainState,
    batch: Batch,
    key: Array,
    *,
    task: Task,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, Array]]:
    """The state after one step on this replica's part of the batch, and the losses of the whole.

    Sums and denominators are added over the devices before they are divided, and gradients are
    added, so a step does not depend on how many devices share the batch.

    Args:
      key: of the run; the step and each image's place in the global batch are folded in.
    Returns:
      metrics: the losses by name, their `loss`, and `gradient_norm`.
    """
    step_key = jax.random.fold_in(key, state.step)

    def total_loss(params: Any) -> tuple[Array, tuple[dict[str, Array], Any]]:
        variables = {"params": params, "buffers": state.buffers}
        terms, buffers = task.loss(variables, batch, step_key)
        denominators = {name: term.denominator for name, term in terms.items()}
        denominators = jax.lax.psum(jax.lax.stop_gradient(denominators), DATA_AXIS)
        losses = {
            name: term.total / jnp.maximum(denominators[name], 1.0) for name, term in terms.items()
        }
        return sum(losses.values(), jnp.zeros(())), (losses, buffers)

    value_and_gradients = jax.value_and_grad(total_loss, has_aux=True)
    (total, (losses, buffers)), gradients = value_and_gradients(state.params)
    gradients, losses, total = jax.lax.psum((gradients, losses, total), DATA_AXIS)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = losses | {"loss": total, "gradient_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, params, buffers, opt_state), metrics


def parallel_step(
    task: Task, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, dict[str, Array]]]:
    """`train_step` on all devices: state and key are shared, batches are [devices, images, ...]."""
    step = partial(train_step, task=task, optimizer=optimizer)
    return jax.pmap(
        step, axis_name=DATA_AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=0
    )


def replicated(tree: Any) -> Any:
    """A copy of `tree` on every device, as `parallel_step` gives it back.

    Given otherwise, the first two steps would compile one program each; and a step frees its input,
    which must not be an array that the caller still holds.
    """
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), (DATA_AXIS,)), PartitionSpec())
    return jax.device_put(jax.tree.map(jnp.copy, tree), everywhere)


def shard(batch: Any, num_devices: int) -> Any:
    """[B, ...] to [devices, B / devices, ...].

    Raises: ValueError if the batch does not divide by the devices.
    """

    def split(x: Array) -> Array:
        if x.shape[0] % num_devices:
            raise ValueError(
                f"a batch of {x.shape[0]} images does not divide by {num_devices} devices; use "
                f"a batch size that is a multiple of {num_devices}."
            )
        return x.reshape(num_devices, x.shape[0] // num_devices, *x.shape[1:])

    return jax.tree.map(split, batch)
