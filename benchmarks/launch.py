"""Starts the processes of a run on this machine, and leaves none behind."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, NamedTuple

_REPOSITORY = Path(__file__).resolve().parents[1]
# The flags of train.py and eval.py.
CLUSTER_FLAGS = (
    "--coordinator=localhost:{port}",
    "--num-processes={number}",
    "--process-index={index}",
)


class Program(NamedTuple):
    """A started process and the file that it prints to (a pipe would fill up)."""

    process: subprocess.Popen[str]
    output: IO[str]

    def text(self) -> str:
        """What it has printed so far."""
        self.output.seek(0)
        return self.output.read()


@contextlib.contextmanager
def started(
    command: Sequence[str],
    number: int,
    *,
    cluster_flags: Sequence[str],
    devices: int = 1,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[list[Program]]:
    """`command` once a process; those that still run at the end are killed.

    Args:
      command: a Python file and its arguments.
      cluster_flags: of it, where {port}, {number} and {index} are filled in; for one process, none.
      devices: fake ones of each process.
      environment: variables that they have besides those of this process.
    """
    port = _free_port()
    variables = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(_REPOSITORY / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(_REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    programs = []
    with contextlib.ExitStack() as stack:
        for index in range(number):
            flags = [flag.format(port=port, number=number, index=index) for flag in cluster_flags]
            output = stack.enter_context(tempfile.TemporaryFile("w+"))
            process = subprocess.Popen(
                [sys.executable, *command, *(flags if number > 1 else ())],
                cwd=_REPOSITORY,
                env=variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.callback(_end, process)
            programs.append(Program(process, output))
        yield programs


def wait_for(programs: Sequence[Program], text: str, *, seconds: float = 300.0) -> None:
    """Until the first has printed `text`. Raises AssertionError if it ends or takes longer."""
    until = time.monotonic() + seconds
    while text not in programs[0].text():
        running = all(program.process.poll() is None for program in programs)
        assert running, _said(programs)
        assert time.monotonic() < until, _said(programs)
        time.sleep(0.1)


def finish(programs: Sequence[Program], *, status: int = 0, seconds: float = 600.0) -> list[str]:
    """What each printed. Raises AssertionError, with it, unless all end with `status` in time."""
    until = time.monotonic() + seconds
    while any(program.process.poll() is None for program in programs):
        # One that fails leaves the others waiting for it, and waits for them before it ends.
        failed = any(
            program.process.poll() not in (None, status) or ": error: " in program.text()
            for program in programs
        )
        assert not failed, _said(programs)
        assert time.monotonic() < until, _said(programs)
        time.sleep(0.1)
    assert all(program.process.returncode == status for program in programs), _said(programs)
    return [program.text() for program in programs]


def run_processes(
    command: Sequence[str],
    number: int,
    *,
    cluster_flags: Sequence[str],
    devices: int = 1,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """What each process of `command` printed, once all have ended well; arguments as `started`."""
    with started(
        command, number, cluster_flags=cluster_flags, devices=devices, environment=environment
    ) as programs:
        return finish(programs)


def _said(programs: Sequence[Program]) -> str:
    return "\n".join(
        f"process {index} (status {program.process.poll()}):\n{program.text()}"
        for index, program in enumerate(programs)
    )


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
