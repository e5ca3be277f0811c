"""Checkpoints: state, position in the data, configuration and class names, in one orbax directory.

A checkpoint says what it is, so `predict` needs neither a config nor a data set. Restoring checks
names and shapes first: orbax would give back whatever was saved, in silence.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import grain.python as grain
import jax
import orbax.checkpoint as ocp

from pointrend_jax.training.step import TrainState


class CheckpointMeta(NamedTuple):
    """What a checkpoint says about itself."""

    config: dict[str, Any]
    class_names: tuple[str, ...]


class Checkpoints:
    """The checkpoints of one work directory, `<workdir>/checkpoints/<step>`."""

    def __init__(self, workdir: Path, *, keep: int) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        # Named handlers, so that a new process can ask for shapes before it restores.
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "data": grain.PyGrainCheckpointHandler(),
            "meta": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            _folder(workdir), options=options, item_handlers=handlers
        )

    @property
    def latest(self) -> int | None:
        """The step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(
        self, step: int, state: TrainState, data: grain.DatasetIterator, meta: CheckpointMeta
    ) -> None:
        """Writes in the background; the next save, or leaving the context, waits for it.

        Raises: OSError, saying what to do, if the disk is full or not writable.
        """
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state._asdict()),
                    data=grain.PyGrainCheckpointSave(data),
                    meta=ocp.args.JsonSave(
                        {"config": meta.config, "class_names": list(meta.class_names)}
                    ),
                ),
            )
        except OSError as error:
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self._manager.directory}: "
                f"{error}. Free some space there (or choose another --workdir) and start again: "
                "the run resumes from its last complete checkpoint."
            ) from error

    def restore(
        self, step: int, like: TrainState, data: grain.DatasetIterator
    ) -> tuple[TrainState, grain.DatasetIterator]:
        """State and data position of `step`.

        Raises: ValueError, listing what differs, if the checkpoint belongs to another model.
        """
        saved = self._manager.item_metadata(step)["state"]
        if "opt_state" not in saved.keys():  # noqa: SIM118 (orbax's tree is no dict)
            raise ValueError(
                f"{self._manager.directory} holds converted weights, not a run to go on with; "
                "train from them with --config.init.weights and another --workdir."
            )
        check_same_tree(saved, like._asdict(), f"the checkpoint of step {step}")
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target),
                data=grain.PyGrainCheckpointRestore(data),
            ),
        )
        return TrainState(**restored["state"]), restored["data"]

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.wait_until_finished()
        self._manager.close()


def save_variables(workdir: Path, variables: dict[str, Any], meta: CheckpointMeta) -> None:
    """A checkpoint of step 0 that predicts, scores and starts other runs, but was never trained.

    Raises: ValueError if `workdir` has checkpoints already; OSError if it cannot be written.
    """
    folder = _folder(workdir)
    with ocp.CheckpointManager(folder) as manager:
        if manager.latest_step() is not None:
            raise ValueError(f"{folder} has checkpoints already; choose another directory.")
        manager.save(
            0,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(
                    {"params": variables["params"], "buffers": variables["buffers"]}
                ),
                meta=ocp.args.JsonSave(
                    {"config": meta.config, "class_names": list(meta.class_names)}
                ),
            ),
        )
        manager.wait_until_finished()


def newest_step(workdir: Path) -> int | None:
    """The step of the newest complete checkpoint of a run; None if there is none."""
    if not _folder(workdir).is_dir():
        return None
    with ocp.CheckpointManager(_folder(workdir)) as manager:
        return manager.latest_step()


def load_variables(workdir: Path) -> tuple[dict[str, Any], CheckpointMeta, int]:
    """Variables, description and step of the newest checkpoint of a run.

    Args:
      workdir: a run's work directory, or its `checkpoints` folder.
    Raises: ValueError if there is no complete checkpoint.
    """
    folder = workdir if workdir.name == "checkpoints" else _folder(workdir)
    if not folder.is_dir():
        raise ValueError(f"{workdir} has no checkpoints; give the --workdir of a training run.")
    handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
    with ocp.CheckpointManager(folder.absolute(), item_handlers=handlers) as manager:
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
    meta = CheckpointMeta(restored["meta"]["config"], tuple(restored["meta"]["class_names"]))
    state = restored["state"]
    return {"params": state["params"], "buffers": state["buffers"]}, meta, step


def check_same_tree(saved: Any, expected: Any, what: str) -> None:
    """Raises ValueError that lists every missing, extra and misshapen array of `saved`."""
    ours, theirs = array_shapes(expected), array_shapes(saved)
    problems = [f"missing: {name} {ours[name]}" for name in sorted(ours.keys() - theirs.keys())]
    problems += [f"extra: {name} {theirs[name]}" for name in sorted(theirs.keys() - ours.keys())]
    problems += [
        f"shape of {name}: saved {theirs[name]}, the model has {ours[name]}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    if problems:
        raise ValueError(
            f"{what} does not fit this model ({len(problems)} arrays differ):\n  "
            + "\n  ".join(problems)
            + "\nUse the configuration it was trained with, or another --workdir."
        )


def array_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every array of a tree, by path ("params/fpn/lateral2/kernel")."""
    return {path: tuple(array.shape) for path, array in flat(tree).items()}


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of arrays that are given by path."""
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, leaf = path.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = array
    return tree


def flat(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by path, the inverse of `nested`."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _name(path: tuple[Any, ...]) -> str:
    """One spelling for attributes, indices and keys: orbax saves tuples and records as dicts."""
    parts = (getattr(p, "key", getattr(p, "name", getattr(p, "idx", p))) for p in path)
    return "/".join(str(part) for part in parts)


def _folder(workdir: Path) -> Path:
    return (workdir / "checkpoints").absolute()
