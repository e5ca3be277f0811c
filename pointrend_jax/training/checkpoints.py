"""Checkpoints: state, configuration and class names in one orbax directory a step.

A checkpoint says what it is, so `predict` needs neither a config nor a data set. The position in
the data is the step itself, so a run may go on with another number of processes. Restoring checks
names and shapes (orbax would give back whatever was saved, in silence) and every array's digest.
"""

import contextlib
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from etils import epath

from pointrend_jax.console import tell
from pointrend_jax.devices.placement import replicated_like, to_be_saved
from pointrend_jax.devices.processes import from_all, from_lead, is_lead
from pointrend_jax.messages import first_lines
from pointrend_jax.storage import AnyPath, as_os_errors, move_folder
from pointrend_jax.training.digests import DamagedCheckpointError, describe_arrays, sealed
from pointrend_jax.training.saved_step import (
    checkpoints_folder,
    first_line,
    open_manager,
    read_step,
    tell_incomplete,
)
from pointrend_jax.training.step import TrainState
from pointrend_jax.training.trees import WrongCheckpointError, check_same_tree


class CheckpointMeta(NamedTuple):
    """What a checkpoint says about itself.

    Attributes:
      num_train_images: of the training set; 0 where none is known.
      train_digest: another one if the training images, their sizes or classes are others; "" where
        none is known.
      versions: of the packages that decide results, by name.
      category_ids: the data set's own id of each class; empty where none is known.
    """

    config: dict[str, Any]
    class_names: tuple[str, ...]
    num_train_images: int = 0
    versions: Mapping[str, str] = {}
    train_digest: str = ""
    category_ids: tuple[int, ...] = ()


class Retention(NamedTuple):
    """Which checkpoints are kept: the `latest`, those of every `every` steps (0 for none), and the
    one that scored best."""

    latest: int
    every: int = 0


class Checkpoints:
    """The checkpoints of one work directory, `<workdir>/checkpoints/<step>`."""

    def __init__(self, workdir: AnyPath, retention: Retention) -> None:
        self._workdir, self._folder = workdir, checkpoints_folder(workdir)
        # The step that is written in the background, or was and has not been asked about.
        self._writing: int | None = None
        self._kept = _Kept(retention)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._kept, enable_async_checkpointing=True
        )
        self._manager = open_manager(self._folder, options)

    def keep_best(self, step: int | None) -> None:
        """The checkpoint of `step` outlives newer ones, until another is named."""
        self._kept.best_step = step

    def save(self, step: int, state: TrainState, meta: CheckpointMeta) -> None:
        """Writes in the background; the next save, or leaving the context, waits for it.

        Raises: OSError, saying what to do, if the disk is full or not writable.
        """
        # An error of the write before this one is of that step.
        self.wait()
        tree = _saved_tree(state)
        with _clear_errors(step, self._folder):
            self._manager.save(step, args=save_args(to_be_saved(tree), tree, meta))
        self._writing = step

    def check(self) -> None:
        """Raises OSError, as `save`, if what was saved last could not be written; does not wait."""
        if self._writing is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Until what was saved last is complete. Raises OSError as `save`."""
        step, self._writing = self._writing, None
        if step is not None:
            with _clear_errors(step, self._folder):
                self._manager.wait_until_finished()

    def restore_newest(self, like: TrainState) -> tuple[TrainState, int, CheckpointMeta] | None:
        """State, step and description of the newest checkpoint that is whole; None if there is
        none at all.

        A damaged one is said so, and moved to `unreadable_checkpoints`.

        Raises: ValueError, listing what differs, if the checkpoint belongs to another model, or if
          there are checkpoints and none can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        tell_incomplete(self._folder, steps)
        problems = []
        for step in steps:
            restored, problem = None, None
            try:
                restored = self._restore(step, like)
            except DamagedCheckpointError as error:
                problem = first_line(error)
            # One that a single process cannot read is no good to any.
            found = [text for text in from_all(problem) if text is not None]
            if restored is not None and not found:
                state, meta = restored
                return state, step, meta
            problems.append(f"step {step}: {found[0]}")
            tell(f"the checkpoint of {problems[-1]}; trying the one before it")
        if problems:
            raise ValueError(
                f"no checkpoint of {self._folder} can be read; restore the directory, "
                "or start anew with another --workdir:\n  " + "\n  ".join(first_lines(problems))
            )
        return None

    def set_aside_after(self, step: int) -> None:
        """Moves newer checkpoints, which could not be read, out of the way of those to come."""
        damaged = [other for other in self._manager.all_steps() if other > step]
        if not damaged:
            return
        # The others wait for this; if it fails, all fail.
        problem = from_lead(lambda: self._move_away(damaged))
        if problem is not None:
            raise OSError(f"damaged checkpoints of {self._workdir} cannot be moved: {problem}")
        self._manager.reload()

    def _move_away(self, steps: Sequence[int]) -> str | None:
        try:
            for step in steps:
                target = self._workdir / "unreadable_checkpoints" / str(step)
                if target.exists():
                    epath.Path(target).rmtree()
                move_folder(self._folder / str(step), target)
        except OSError as error:
            return str(error)
        return None

    def _restore(self, step: int, like: TrainState) -> tuple[TrainState, CheckpointMeta]:
        expected = _saved_tree(like)

        def target(saved: Any) -> Any:
            if "opt_state" not in saved:
                raise WrongCheckpointError(
                    f"{self._folder} holds converted weights, not a run to go on with; "
                    "train from them with --config.init.weights and another --workdir."
                )
            check_same_tree(saved, expected, f"the checkpoint of step {step}")
            return replicated_like(expected)

        restored, content = read_step(self._manager, step, target)
        return TrainState(**({"average": {}} | restored)), parse_meta(content)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except OSError as failure:
            if error is None:
                raise
            print(failure, flush=True)
        finally:
            # Nothing is written any more; of what has failed orbax would tell again.
            with contextlib.suppress(OSError, ValueError):
                self._manager.close()


class _Kept:
    """Orbax's question which checkpoints to keep, answered by `Retention` and the best step."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self.best_step: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        latest, every = self._retention
        newest = len(checkpoints) - max(latest, 1)
        return [
            place >= newest or info.step == self.best_step or (every > 0 and info.step % every == 0)
            for place, info in enumerate(checkpoints)
        ]


def package_versions() -> dict[str, str]:
    """The versions of the packages that decide the numbers of a run."""
    return {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")}


def _saved_tree(state: TrainState) -> dict[str, Any]:
    """Without an average where there is none, so that a checkpoint has no empty item."""
    return {name: tree for name, tree in state._asdict().items() if name != "average" or tree}


def save_args(arrays: Any, tree: Any, meta: CheckpointMeta) -> ocp.args.Composite:
    """What orbax writes: the arrays, and a description with their digests.

    Args:
      arrays: `tree` as orbax wants it, over the devices of all processes.
    """
    # One process writes the description, and all have the same arrays.
    digests = describe_arrays(tree) if is_lead() else {}
    return ocp.args.Composite(
        state=ocp.args.StandardSave(arrays),
        meta=ocp.args.JsonSave(sealed(meta_content(meta), digests)),
    )


def meta_content(meta: CheckpointMeta) -> dict[str, Any]:
    """A description as JSON has it; `parse_meta` is the inverse."""
    return meta._asdict() | {
        "class_names": list(meta.class_names),
        "category_ids": list(meta.category_ids),
    }


@contextlib.contextmanager
def _clear_errors(step: int, folder: AnyPath) -> Iterator[None]:
    try:
        with as_os_errors():
            yield
    # Errors of the background thread: of the operating system, or tensorstore's ValueErrors.
    except (OSError, ValueError) as error:
        full = any(sign in str(error) for sign in _FULL)
        advice = "Free some space there" if full else "See to that"
        raise OSError(
            f"the checkpoint of step {step} could not be written to {folder}: {first_line(error)}. "
            f"{advice} (or choose another --workdir) and start again: the run resumes from its "
            "last complete checkpoint."
        ) from error


# How the system and tensorstore say that a disk or a quota is full.
_FULL = ("No space left", "Disk quota exceeded", "ENOSPC", "EDQUOT")
# Fields that checkpoints of earlier versions do not have, with the values that they were trained
# with.
_NEWER_FIELDS = {
    "data": {"repeat_threshold": 0.0},
    "model": {"compute_dtype": "float32"},
    "train": {"remat": False},
}
_NEWER_MASK_FIELDS = {"min_cell_px": 0.0}
_KINDS = {
    "config": dict, "class_names": list, "num_train_images": int, "versions": dict,
    "train_digest": str, "category_ids": list,
}  # fmt: skip


def parse_meta(content: Mapping[str, Any]) -> CheckpointMeta:
    """From the JSON of a checkpoint. Raises DamagedCheckpointError for what cannot be one."""
    values: dict[str, Any] = {
        "num_train_images": 0, "versions": {}, "train_digest": "", "config": None,
        "class_names": None, "category_ids": [],
    } | dict(content)  # fmt: skip
    for name, kind in _KINDS.items():
        if type(values[name]) is not kind:
            raise DamagedCheckpointError(
                f"{name} of its description must be of type {kind.__name__}, got "
                f"{str(values[name])[:100]!r}"
            )
    config, names = values["config"], values["class_names"]
    if not all(isinstance(name, str) for name in names):
        raise DamagedCheckpointError("class_names of its description must be texts")
    if not all(type(number) is int for number in values["category_ids"]):
        raise DamagedCheckpointError("category_ids of its description must be whole numbers")
    groups = {name: config[name] for name in _NEWER_FIELDS if name in config}
    for name, group in groups.items():
        if not isinstance(group, dict):
            raise DamagedCheckpointError(f"config.{name} of its description must be a group")
    newer = {name: _NEWER_FIELDS[name] | group for name, group in groups.items()}
    if isinstance(newer.get("model", {}).get("mask"), dict):
        newer["model"]["mask"] = _NEWER_MASK_FIELDS | newer["model"]["mask"]
    return CheckpointMeta(
        config | newer,
        tuple(names),
        values["num_train_images"],
        values["versions"],
        values["train_digest"],
        tuple(values["category_ids"]),
    )
