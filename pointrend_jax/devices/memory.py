"""How much memory a device has."""

import contextlib
import os
from pathlib import Path

import jax

# Where Linux says what a container may take; version 2 and version 1.
_CONTAINER = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def memory_of_device() -> int | None:
    """Bytes that jax may use on a device of this process; None where nothing tells.

    A CPU's are the machine's, or the container's where it has less, by the number of jax's devices
    there.
    """
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        # Some backends have no statistics, and others lack this one.
        return (device.memory_stats() or {}).get("bytes_limit")
    machine = _machine()
    return None if machine is None else machine // jax.local_device_count()


def _machine() -> int | None:
    found = []
    # Windows has no such function.
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in _CONTAINER:
        # There is one of the two versions, and "max" is no limit.
        with contextlib.suppress(OSError, ValueError):
            found.append(int(file.read_text()))
    return min(found, default=None)
