"""The chips that programs are compiled for, none of which need be there, and their compiler."""

import os
from importlib.metadata import PackageNotFoundError, requires, version
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies


class Chip(NamedTuple):
    """What turns cycles into time, of one of jax's devices.

    Attributes:
      peak: bfloat16 operations a second. Source: the vendor's figures of a chip, of which a v4 is
        two devices.
      clock: cycles a second, at which the products of its four matrix units make the peak (128 x
        128 cells, 256 x 256 of a v6e; a multiplication and an addition each).
    """

    peak: float
    clock: float


_V5E = Chip(197e12, 1.5e9)
# By the name of the topology, as libtpu knows it: chips in a host or a slice.
CHIPS = MappingProxyType(
    {
        "v5e:2x4": _V5E, "v5e:16x16": _V5E, "v4:2x2x1": Chip(137.5e12, 1.05e9),
        "v6e:2x4": Chip(918e12, 1.75e9),
    }
)  # fmt: skip
# Without the others libtpu asks the cloud's metadata server where it is; the first lets several
# processes compile at a time, none of which opens a device.
_NOWHERE = MappingProxyType(
    {
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8", "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
    }
)  # fmt: skip


class NoCompilerError(ValueError):
    """libtpu is not here."""


def compiler_version() -> str:
    """Of libtpu. Raises: NoCompilerError, saying how to get it."""
    try:
        return version("libtpu")
    except PackageNotFoundError as error:
        of_jax = (line.split(";")[0].strip() for line in requires("jax") or ())
        wanted = next((line for line in of_jax if line.startswith("libtpu")), "libtpu")
        raise NoCompilerError(
            "programs for a TPU are compiled by libtpu, which is not installed. It need not be in "
            f"this environment: pip install --no-deps --target DIR '{wanted}' (200 MB), and start "
            "this program with PYTHONPATH=.:DIR."
        ) from error


def devices_of(topology: str) -> list[Any]:
    """The devices of a topology of `CHIPS`, to compile for. Raises: NoCompilerError."""
    compiler_version()
    os.environ.update(_NOWHERE)
    jax.config.update("jax_platforms", "cpu")
    return list(topologies.get_topology_desc(topology_name=topology, platform="tpu").devices)
