"""A work directory belongs to one run at a time."""

import contextlib
import errno
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from pointrend_jax.devices.processes import from_lead
from pointrend_jax.storage import AnyPath, is_remote

_FILE = "run.lock"
# What file systems say that cannot lock at all.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def only_run_in(workdir: AnyPath) -> Iterator[None]:
    """While no other run has the directory; one that is killed lets go.

    The first of the processes holds a lock of `run.lock`, which stays and says who has it. In a
    bucket nothing can be locked, and nothing is.

    Raises: ValueError, in every process, that says which run has it.
    """
    with contextlib.ExitStack() as stack:

        def take() -> str | None:
            return None if is_remote(workdir) else _take(Path(workdir) / _FILE, stack)

        problem = from_lead(take)
        if problem is not None:
            raise ValueError(problem)
        yield


def _take(path: Path, stack: contextlib.ExitStack) -> str | None:
    """Holds the lock until `stack` ends; in words why that cannot be."""
    try:
        file: IO[str] = stack.enter_context(path.open("a+", encoding="utf-8", errors="replace"))
    except OSError as error:
        return f"{path} cannot be opened ({error.strerror}); choose another --workdir."
    try:
        alone = lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            return f"{path} cannot be locked ({error.strerror}); choose another --workdir."
        print(
            f"{path.parent} cannot be locked ({error.strerror}): start no other run there",
            flush=True,
        )
        return None
    if not alone:
        file.seek(0)
        holder = file.read(300).strip() or "another process"
        return (
            f"--workdir {path.parent} belongs to a run that is not over ({holder}); wait for it, "
            "stop it, or choose another --workdir."
        )
    file.truncate(0)
    file.write(
        f"process {os.getpid()} on {socket.gethostname()}, since "
        f"{datetime.now():%Y-%m-%d %H:%M:%S}: {shlex.join(sys.argv)[:150]}\n"
    )
    file.flush()
    return None
