"""One training step: pure, for one replica, over a named axis of devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pointrend_jax.devices.backend import deterministic
from pointrend_jax.structures import DATA_AXIS, Array, CropBatch, ObjectBatch, SemanticBatch
from pointrend_jax.tasks.task import Task, Variables

Batch = ObjectBatch | SemanticBatch | CropBatch


class TrainState(NamedTuple):
    """Everything that a step changes, and the fixed statistics it reads.

    step: scalar, steps done. params: trained and stage-frozen parameters. buffers: batch
    statistics. average: exponential moving average of `params`, {} without one.
    """

    step: Array
    params: Any
    buffers: Any
    opt_state: Any
    average: Any


class StepOptions(NamedTuple):
    """How a step is made.

    Attributes:
      accumulate_steps: parts that a replica's images are worked on in, one after the other; their
        gradients are averaged, each with denominators of its own.
      average_decay: of the moving average of the parameters; 0 for none.
      deterministic: a GPU gives the same bits in every run, at some cost; a CPU does anyway.
    """

    accumulate_steps: int = 1
    average_decay: float = 0.0
    deterministic: bool = False


DEFAULT_OPTIONS = StepOptions()


def initial_state(
    variables: Variables, optimizer: optax.GradientTransformation, options: StepOptions
) -> TrainState:
    """The state before the first step."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        buffers=variables["buffers"],
        # One program, where each shape would be one.
        opt_state=jax.jit(optimizer.init)(params),
        average=jax.device_put(params, may_alias=False) if options.average_decay else {},
    )


def variables_of(state: TrainState) -> Variables:
    """What to predict with: the averaged parameters, if there are any."""
    return {"params": state.average or state.params, "buffers": state.buffers}


def train_step(
    state: TrainState,
    batch: Batch,
    key: Array,
    *,
    task: Task,
    optimizer: optax.GradientTransformation,
    options: StepOptions = DEFAULT_OPTIONS,
) -> tuple[TrainState, dict[str, Array]]:
    """The state after one step on this replica's part of the batch, and the losses of the whole.

    Sums and denominators are added over the devices before they are divided, and gradients are
    added, so a step does not depend on how many devices share the batch.

    Args:
      key: of the run; the step and each image's place in the global batch are folded in.
    Returns: the new state, and metrics: the losses by name, their sum `loss`, and `gradient_norm`.
    """
    step_key = jax.random.fold_in(key, state.step)

    def gradients_of(buffers: Any, part: Batch) -> tuple[Any, tuple[Any, dict[str, Array]]]:
        with deterministic(options.deterministic):
            return _gradients(task, {"params": state.params, "buffers": buffers}, part, step_key)

    if options.accumulate_steps == 1:
        buffers, (gradients, losses) = gradients_of(state.buffers, batch)
    else:
        buffers, results = jax.lax.scan(
            gradients_of, state.buffers, _in_parts(batch, options.accumulate_steps)
        )
        gradients, losses = jax.tree.map(lambda x: jnp.mean(x, axis=0), results)
    gradients, losses = _sum_over_devices((gradients, losses))
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = _averaged(state, params, options.average_decay) if state.average else {}
    metrics = losses | {"gradient_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, params, buffers, opt_state, average), metrics


def _gradients(
    task: Task, variables: Variables, batch: Batch, key: Array
) -> tuple[Any, tuple[Any, dict[str, Array]]]:
    """The new buffers, and this replica's share of the gradients and the losses."""

    def total_loss(params: Any) -> tuple[Array, tuple[dict[str, Array], Any]]:
        terms, buffers = task.loss(variables | {"params": params}, batch, key)
        denominators = {name: term.denominator for name, term in terms.items()}
        denominators = _sum_over_devices(jax.lax.stop_gradient(denominators))
        losses = {
            name: term.total / jnp.maximum(denominators[name], 1.0) for name, term in terms.items()
        }
        return sum(losses.values(), jnp.zeros(())), (losses, buffers)

    value_and_gradients = jax.value_and_grad(total_loss, has_aux=True)
    (total, (losses, buffers)), gradients = value_and_gradients(variables["params"])
    return buffers, (gradients, losses | {"loss": total})


def _sum_over_devices(x: Any) -> Any:
    """The sum of every leaf over the devices; the leaf itself on one, which XLA would copy."""
    return x if jax.lax.axis_size(DATA_AXIS) == 1 else jax.lax.psum(x, DATA_AXIS)


def _in_parts(batch: Batch, number: int) -> Batch:
    """[B, ...] to [number, B / number, ...]. Raises ValueError if B does not divide."""

    def split(x: Array) -> Array:
        if x.shape[0] % number:
            raise ValueError(
                "config.train.accumulate_steps must divide the images of a device, got "
                f"{number} for {x.shape[0]} images."
            )
        return x.reshape(number, x.shape[0] // number, *x.shape[1:])

    return jax.tree.map(split, batch)


def _averaged(state: TrainState, params: Any, decay: float) -> Any:
    """Follows fast at first: the starting weights should not linger for 1 / (1 - decay) steps."""
    step = state.step.astype(jnp.float32)
    weight = 1.0 - jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: old + weight * (new - old), state.average, params)


StepFunction = Callable[[TrainState, Any, Array], tuple[TrainState, dict[str, Array]]]
