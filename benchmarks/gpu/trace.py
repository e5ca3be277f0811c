"""What the device did while a trace was written: its kernels, and the time that any of them ran."""

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax

# As XLA names the planes of GPUs and their lines in `jax.profiler.trace`'s files; copies and fills
# stand among the kernels.
_PLANE, _LINE = "/device:GPU:", "Stream #"
_NO_KERNELS = ("Memcpy", "Memset")


class DeviceWork(NamedTuple):
    """Of one GPU, by call. busy_ms: during which at least one kernel or copy ran."""

    kernels: float
    copies: float
    busy_ms: float


class NoDeviceError(ValueError):
    """A part cannot be measured here."""


def traced(call: Callable[[], Any], calls: int) -> DeviceWork:
    """What a call keeps the first GPU busy with, on average. Nothing should be compiled in it.

    Raises: NoDeviceError where there is no GPU.
    """
    require_gpu()
    with TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                jax.block_until_ready(call())
        events = device_events(Path(folder))
    return summed(events, calls)


def require_gpu() -> None:
    """Raises NoDeviceError where there is no GPU."""
    platform = jax.devices()[0].platform
    if platform != "gpu":
        raise NoDeviceError(f"the profile counts kernels of a GPU, and this is a {platform}")


def device_events(folder: Path) -> list[tuple[str, float, float]]:
    """Name, begin and duration in ns of all that the first GPU did, of a folder with one trace.

    Raises: NoDeviceError if the trace has no GPU.
    """
    (file,) = folder.rglob("*.xplane.pb")
    planes = [p for p in jax.profiler.ProfileData.from_file(str(file)).planes if _is_gpu(p.name)]
    if not planes:
        raise NoDeviceError(f"the trace {file} has nothing of a GPU")
    first = min(planes, key=lambda plane: plane.name)
    return [
        (event.name, event.start_ns, event.duration_ns)
        for line in first.lines
        if line.name.startswith(_LINE)
        for event in line.events
    ]


def _is_gpu(plane: str) -> bool:
    return plane.startswith(_PLANE)


def summed(events: Iterable[tuple[str, float, float]], calls: int) -> DeviceWork:
    """Args: events, name, begin and duration in ns of each, of all streams in any order."""
    kernels, copies, busy, end = 0, 0, 0.0, float("-inf")
    for name, begin, duration in sorted(events, key=lambda event: event[1]):
        is_copy = name.startswith(_NO_KERNELS)
        kernels, copies = kernels + (not is_copy), copies + is_copy
        # Streams overlap: what ran at the same time counts once.
        busy += max(begin + duration - max(begin, end), 0.0)
        end = max(end, begin + duration)
    return DeviceWork(kernels / calls, copies / calls, busy / calls / 1e6)
