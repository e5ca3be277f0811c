"""Starts the processes of a run on this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

from tests.shared import REPOSITORY


def start_processes(
    command: Sequence[str], number: int, *, cluster_flags: Sequence[str], devices: int = 1
) -> list[subprocess.Popen[str]]:
    """`command` once a process.

    Args:
      cluster_flags: of it, where {port}, {number} and {index} are filled in; for one process, none.
      devices: fake ones of each process.
    """
    port = _free_port()
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(REPOSITORY / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(REPOSITORY),
    }
    processes = []
    for index in range(number):
        flags = [flag.format(port=port, number=number, index=index) for flag in cluster_flags]
        processes.append(
            subprocess.Popen(
                [sys.executable, *command, *(flags if number > 1 else ())],
                cwd=REPOSITORY,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return processes


def finish(processes: Sequence[subprocess.Popen[str]], *, seconds: float = 600.0) -> list[str]:
    """What each printed. Raises AssertionError, with it, if one failed."""
    outputs = [process.communicate(timeout=seconds)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return outputs


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
