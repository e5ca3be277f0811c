"""Checkpoints: state, configuration and class names in one orbax directory a step.

A checkpoint says what it is, so `predict` needs neither a config nor a data set. The position in
the data is the step itself, so a run may go on with another number of processes. Restoring checks
names and shapes (orbax would give back whatever was saved, in silence) and a digest of the values.
"""

import contextlib
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from etils import epath

from pointrend_jax.console import tell
from pointrend_jax.storage import AnyPath, as_os_errors, is_remote, move_folder
from pointrend_jax.training.processes import from_all, from_lead
from pointrend_jax.training.replicas import over_all_processes, replicated_like
from pointrend_jax.training.step import TrainState
from pointrend_jax.training.trees import WrongCheckpointError, check_same_tree, digest


class CheckpointMeta(NamedTuple):
    """What a checkpoint says about itself.

    Attributes:
      num_train_images: of the training set; 0 where none is known.
      train_digest: another one if the training images, their sizes or classes are others; "" where
        none is known.
      versions: of the packages that decide results, by name.
    """

    config: dict[str, Any]
    class_names: tuple[str, ...]
    num_train_images: int = 0
    versions: Mapping[str, str] = {}
    train_digest: str = ""


class Retention(NamedTuple):
    """Which checkpoints are kept: the `latest`, those of every `every` steps (0 for none), and the
    one that scored best."""

    latest: int
    every: int = 0


class Checkpoints:
    """The checkpoints of one work directory, `<workdir>/checkpoints/<step>`."""

    def __init__(self, workdir: AnyPath, retention: Retention) -> None:
        self._workdir = workdir
        self._kept = _Kept(retention)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._kept, enable_async_checkpointing=True
        )
        self._manager = open_manager(checkpoints_folder(workdir), options)

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint; None if there is none."""
        return self._manager.latest_step()

    def keep_best(self, step: int | None) -> None:
        """The checkpoint of `step` outlives newer ones, until another is named."""
        self._kept.best_step = step

    def save(self, step: int, state: TrainState, meta: CheckpointMeta) -> None:
        """Writes in the background; the next save, or leaving the context, waits for it.

        Raises: OSError, saying what to do, if the disk is full or not writable.
        """
        content = {
            "config": dict(meta.config),
            "class_names": list(meta.class_names),
            "num_train_images": meta.num_train_images,
            "versions": dict(meta.versions),
            "train_digest": meta.train_digest,
            "digest": digest(_saved_tree(state)),
        }
        with self._clear_errors(step):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(over_all_processes(_saved_tree(state))),
                    meta=ocp.args.JsonSave(content),
                ),
            )

    def wait(self) -> None:
        """Until what was saved last is complete. Raises OSError as `save`."""
        with self._clear_errors(self.latest):
            self._manager.wait_until_finished()

    def meta(self, step: int) -> CheckpointMeta:
        """What the checkpoint of `step` says about itself."""
        return parse_meta(_restore(self._manager, step, meta=ocp.args.JsonRestore())["meta"])

    def restore_newest(self, like: TrainState) -> tuple[TrainState, int] | None:
        """State and step of the newest checkpoint that can be read; None if there is none at all.

        A damaged one is said so, and moved to `unreadable_checkpoints`.

        Raises: ValueError, listing what differs, if the checkpoint belongs to another model, or if
          there are checkpoints and none can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        problems = []
        for step in steps:
            state, problem = None, None
            try:
                state = self._restore(step, like)
            except WrongCheckpointError:
                raise
            # Whatever a damaged file makes orbax, tensorstore or the JSON parser raise.
            except Exception as error:  # noqa: BLE001
                problem = _first_line(error)
            # One that a single process cannot read is no good to any.
            found = [text for text in from_all(problem) if text is not None]
            if state is not None and not found:
                return state, step
            problems.append(f"step {step}: {found[0]}")
            tell(f"the checkpoint of {problems[-1]}; trying the one before it")
        if problems:
            raise ValueError(
                f"no checkpoint of {self._manager.directory} can be read; restore the directory, "
                "or start anew with another --workdir:\n  " + "\n  ".join(problems)
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
                move_folder(checkpoints_folder(self._workdir) / str(step), target)
        except OSError as error:
            return str(error)
        return None

    def _restore(self, step: int, like: TrainState) -> TrainState:
        metadata: Any = self._manager.item_metadata(step)
        saved = metadata["state"]
        if saved is None:
            raise ValueError(f"its state is missing or not readable in {self._manager.directory}")
        if "opt_state" not in saved.keys():  # noqa: SIM118 (orbax's tree is no dict)
            raise WrongCheckpointError(
                f"{self._manager.directory} holds converted weights, not a run to go on with; "
                "train from them with --config.init.weights and another --workdir."
            )
        expected = _saved_tree(like)
        check_same_tree(saved, expected, f"the checkpoint of step {step}")
        restored = _restore(
            self._manager,
            step,
            state=ocp.args.StandardRestore(replicated_like(expected)),
            meta=ocp.args.JsonRestore(),
        )
        state = TrainState(**({"average": {}} | dict(restored["state"])))
        found, written = digest(_saved_tree(state)), restored["meta"].get("digest")
        # Checkpoints of earlier versions have none.
        if written is not None and written != found:
            raise ValueError(f"its arrays have the digest {found}, {written} was written")
        return state

    @contextlib.contextmanager
    def _clear_errors(self, step: int | None) -> Iterator[None]:
        try:
            with as_os_errors():
                yield
        # Errors of the background thread: of the operating system, or tensorstore's ValueErrors.
        except (OSError, ValueError) as error:
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self._manager.directory}: "
                f"{_first_line(error)}. Free some space there (or choose another --workdir) and "
                "start again: the run resumes from its last complete checkpoint."
            ) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.wait()
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
    """Of the packages that decide the numbers of a run."""
    return {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")}


def _saved_tree(state: TrainState) -> dict[str, Any]:
    """Without an average where there is none, so that a checkpoint has no empty item."""
    return {name: tree for name, tree in state._asdict().items() if name != "average" or tree}


def _handlers() -> dict[str, Any]:
    return {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}


def _restore(manager: ocp.CheckpointManager, step: int, **items: Any) -> Any:
    return manager.restore(step, args=ocp.args.Composite(**items))


# Fields that checkpoints of earlier versions do not have, with the values that they were trained
# with.
_NEWER_FIELDS = {
    "data": {"repeat_threshold": 0.0},
    "model": {"compute_dtype": "float32"},
    "train": {"remat": False},
}
_NEWER_MASK_FIELDS = {"min_cell_px": 0.0}


def parse_meta(content: Any) -> CheckpointMeta:
    """From the JSON of a checkpoint."""
    config = content["config"]
    newer = {name: new | config[name] for name, new in _NEWER_FIELDS.items() if name in config}
    if "mask" in newer.get("model", {}):
        newer["model"]["mask"] = _NEWER_MASK_FIELDS | newer["model"]["mask"]
    return CheckpointMeta(
        config | newer,
        tuple(content["class_names"]),
        content.get("num_train_images", 0),
        content.get("versions", {}),
        content.get("train_digest", ""),
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]


def checkpoints_folder(workdir: AnyPath) -> AnyPath:
    """Where the checkpoints of a run lie, one folder a step."""
    return absolute(workdir / "checkpoints")


def absolute(folder: AnyPath) -> AnyPath:
    """As orbax wants a path."""
    return folder if is_remote(folder) else folder.absolute()


def open_manager(
    folder: AnyPath, options: ocp.CheckpointManagerOptions | None = None
) -> ocp.CheckpointManager:
    """Orbax's view of a folder. Raises ValueError for a bucket without the packages for it."""
    try:
        # Named handlers, so that a new process can ask for shapes before it restores.
        return ocp.CheckpointManager(folder, options=options, item_handlers=_handlers())
    except ImportError as error:
        raise ValueError(f"{folder} needs the extra `gcs`: pip install -e .[gcs]") from error
