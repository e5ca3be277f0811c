"""The variables of a checkpoint alone: to predict with, to score, and to start other runs from."""

from typing import Any

import jax
import orbax.checkpoint as ocp

from pointrend_jax.storage import AnyPath
from pointrend_jax.training.checkpoints import (
    CheckpointMeta,
    absolute,
    checkpoints_folder,
    open_manager,
    parse_meta,
)
from pointrend_jax.training.processes import from_lead


def save_variables(workdir: AnyPath, variables: dict[str, Any], meta: CheckpointMeta) -> None:
    """A checkpoint of step 0 that predicts, scores and starts other runs, but was never trained.

    Raises: ValueError if `workdir` has checkpoints already; OSError if it cannot be written.
    """
    folder = checkpoints_folder(workdir)
    with open_manager(folder) as manager:
        if manager.latest_step() is not None:
            raise ValueError(f"{folder} has checkpoints already; choose another directory.")
        manager.save(
            0,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(
                    {"params": variables["params"], "buffers": variables["buffers"]}
                ),
                meta=ocp.args.JsonSave(
                    {
                        "config": meta.config,
                        "class_names": list(meta.class_names),
                        "category_ids": list(meta.category_ids),
                    }
                ),
            ),
        )
        manager.wait_until_finished()


def newest_step(workdir: AnyPath) -> int | None:
    """The step of the newest complete checkpoint of a run; None if there is none."""
    # One process says whether there is a folder: a faster one may be about to make it.
    if not from_lead(checkpoints_folder(workdir).is_dir):
        return None
    with open_manager(checkpoints_folder(workdir)) as manager:
        return manager.latest_step()


def load_variables(workdir: AnyPath) -> tuple[dict[str, Any], CheckpointMeta, int]:
    """Variables, description and step of the newest checkpoint of a run.

    Args:
      workdir: a run's work directory, or its `checkpoints` folder.
    Raises: ValueError if there is no complete checkpoint.
    """
    folder = workdir if workdir.name == "checkpoints" else checkpoints_folder(workdir)
    if not folder.is_dir():
        raise ValueError(f"{workdir} has no checkpoints; give the --workdir of a training run.")
    with open_manager(absolute(folder)) as manager:
        step = manager.latest_step()
        if step is None:
            raise ValueError(f"{folder} holds no complete checkpoint.")
        # On this process's own device, whatever devices it was saved from.
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda saved: jax.ShapeDtypeStruct(saved.shape, saved.dtype, sharding=here),
            manager.item_metadata(step)["state"].tree,
        )
        restored = manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target), meta=ocp.args.JsonRestore()
            ),
        )
    state = restored["state"]
    params = state.get("average", state["params"])
    return {"params": params, "buffers": state["buffers"]}, parse_meta(restored["meta"]), step
