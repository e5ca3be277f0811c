"""One checkpoint of a work directory: where it lies, and how it is read, every byte verified."""

from collections.abc import Callable, Sequence
from typing import Any

import orbax.checkpoint as ocp

from pointrend_jax.console import tell
from pointrend_jax.messages import first, without_middle
from pointrend_jax.storage import AnyPath, is_remote
from pointrend_jax.training.digests import (
    DamagedCheckpointError,
    check_arrays,
    check_names,
    opened,
)
from pointrend_jax.training.event_loops import deaf_once_closed
from pointrend_jax.training.trees import WrongCheckpointError


def checkpoints_folder(workdir: AnyPath) -> AnyPath:
    """Where the checkpoints of a run lie, one folder a step."""
    return absolute(workdir / "checkpoints")


def absolute(folder: AnyPath) -> AnyPath:
    """The path in the form that orbax takes: absolute, unless it is an address."""
    return folder if is_remote(folder) else folder.absolute()


def open_manager(
    folder: AnyPath, options: ocp.CheckpointManagerOptions | None = None
) -> ocp.CheckpointManager:
    """Orbax's view of a folder; without `options` it makes nothing there.

    Raises: ValueError if it is no folder, or in a bucket without the packages for it.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"{folder} must be the folder of the checkpoints, and is a file; move it away."
        )
    options = options or ocp.CheckpointManagerOptions(create=False)
    try:
        # Named handlers, so that a new process can ask for shapes before it restores.
        return ocp.CheckpointManager(folder, options=options, item_handlers=_handlers())
    except ImportError as error:
        raise ValueError(
            f"{folder} needs the extra `gcs`: pip install 'pointrend_jax[gcs]'"
        ) from error


def tell_incomplete(folder: AnyPath, complete: Sequence[int]) -> None:
    """Prints which steps of a folder are not complete, and so are none for orbax."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    steps = sorted(int(name) for name in names if name.isdecimal() and int(name) not in complete)
    if steps:
        tell(
            f"{folder} holds no complete checkpoint of step {first([*map(str, steps)])}: it "
            "is being written, or was cut short or damaged; it is left out"
        )


def read_step(
    manager: ocp.CheckpointManager, step: int, target: Callable[[Any], Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of a checkpoint as a tree, and its description.

    Args:
      target: takes the tree that was saved, of shapes and types, and gives the tree to restore; may
        raise WrongCheckpointError.
    Raises: DamagedCheckpointError, naming the arrays that are not what was written.
    """
    content, digests = _description(manager, step)
    try:
        saved = manager.item_metadata(step)["state"]
        if saved is None:
            raise DamagedCheckpointError("its arrays (state) are missing or not readable")
        if digests is not None:
            check_names(saved.tree, digests)
        restored = _restore(manager, step, state=ocp.args.StandardRestore(target(saved.tree)))
        state = restored["state"]
        if digests is not None:
            check_arrays(state, digests)
    except (WrongCheckpointError, DamagedCheckpointError):
        raise
    # Whatever a damaged file makes orbax or tensorstore raise.
    except Exception as error:
        raise _unreadable(error) from error
    if digests is None:
        tell(
            f"the checkpoint of step {step} was written by an earlier version, without digests: "
            "its values cannot be verified"
        )
    return state, content


def read_description(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """The description of a checkpoint alone, which costs a file and no arrays.

    Raises: DamagedCheckpointError if it is not what was written.
    """
    return _description(manager, step)[0]


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a line; of a long text, both ends."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return without_middle(text, 300)


def _description(
    manager: ocp.CheckpointManager, step: int
) -> tuple[dict[str, Any], dict[str, str] | None]:
    try:
        return opened(_restore(manager, step, meta=ocp.args.JsonRestore())["meta"])
    except DamagedCheckpointError:
        raise
    # Whatever a damaged file makes orbax or the JSON parser raise.
    except Exception as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> DamagedCheckpointError:
    # Orbax wraps what tensorstore says in a text of its own.
    return DamagedCheckpointError(f"it cannot be read ({first_line(error.__cause__ or error)})")


def _restore(manager: ocp.CheckpointManager, step: int, **items: Any) -> Any:
    with deaf_once_closed():
        return manager.restore(step, args=ocp.args.Composite(**items))


def _handlers() -> dict[str, Any]:
    return {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
