"""The variables of a checkpoint alone: to predict with, to score, and to start other runs from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import orbax.checkpoint as ocp

from pointrend_jax.devices.processes import from_lead
from pointrend_jax.storage import AnyPath
from pointrend_jax.training.checkpoints import CheckpointMeta, parse_meta, save_args
from pointrend_jax.training.digests import DamagedCheckpointError
from pointrend_jax.training.saved_step import (
    absolute,
    checkpoints_folder,
    open_manager,
    read_description,
    read_step,
    tell_incomplete,
)


def save_variables(workdir: AnyPath, variables: dict[str, Any], meta: CheckpointMeta) -> None:
    """A checkpoint of step 0 that predicts, scores and starts other runs, but was never trained.

    Raises: ValueError if `workdir` has checkpoints already; OSError if it cannot be written.
    """
    folder = checkpoints_folder(workdir)
    with open_manager(folder, ocp.CheckpointManagerOptions()) as manager:
        if manager.latest_step() is not None:
            raise ValueError(f"{folder} has checkpoints already; choose another directory.")
        tree = {"params": variables["params"], "buffers": variables["buffers"]}
        manager.save(0, args=save_args(tree, tree, meta))
        manager.wait_until_finished()


def newest_step(workdir: AnyPath) -> int | None:
    """The step of the newest complete checkpoint of a run; None if there is none."""
    # One process says whether there is a folder: a faster one may be about to make it.
    if not from_lead(checkpoints_folder(workdir).exists):
        return None
    with open_manager(checkpoints_folder(workdir)) as manager:
        return manager.latest_step()


def load_variables(workdir: AnyPath) -> tuple[dict[str, Any], CheckpointMeta, int]:
    """Variables, description and step of the newest checkpoint of a run.

    Args:
      workdir: a run's work directory, or its `checkpoints` folder.
    Raises: ValueError if there is no complete checkpoint, or if the newest one is damaged.
    """
    # On this process's own device, whatever devices it was saved from.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def target(saved: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), saved)

    with _newest(workdir) as (manager, step):
        state, content = read_step(manager, step, target)
        meta = parse_meta(content)
    params = state.get("average", state["params"])
    return {"params": params, "buffers": state["buffers"]}, meta, step


def load_description(workdir: AnyPath) -> CheckpointMeta:
    """What `load_variables` says of the newest checkpoint, without reading its arrays.

    Raises: ValueError if there is no complete checkpoint, or if the description is damaged.
    """
    with _newest(workdir, quiet=True) as (manager, step):
        return parse_meta(read_description(manager, step))


@contextmanager
def _newest(
    workdir: AnyPath, *, quiet: bool = False
) -> Iterator[tuple[ocp.CheckpointManager, int]]:
    """The newest checkpoint; an error within says what to do about a damaged one."""
    folder = absolute(workdir) if workdir.name == "checkpoints" else checkpoints_folder(workdir)
    if not folder.exists():
        raise ValueError(f"{workdir} has no checkpoints; give the --workdir of a training run.")
    with open_manager(folder) as manager:
        steps = sorted(manager.all_steps())
        if not (steps and quiet):
            tell_incomplete(folder, steps)
        if not steps:
            raise ValueError(f"{folder} holds no complete checkpoint.")
        *older, step = steps
        try:
            yield manager, step
        except DamagedCheckpointError as error:
            instead = (
                f", or move that folder elsewhere to use the checkpoint of step {older[-1]}"
                if older
                else ""
            )
            raise ValueError(
                f"the checkpoint of step {step} is damaged: {error}. Restore "
                f"{folder / str(step)} from a copy{instead}."
            ) from error
