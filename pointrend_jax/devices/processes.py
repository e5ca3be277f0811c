"""The processes of one run: how they find each other, and what they tell each other."""

import os
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pointrend_jax.console import set_process

Value = TypeVar("Value")

# Each says how many processes a launcher started (Slurm's: srun; SLURM_NTASKS is of the allocation,
# in which one process may well be alone), or lists their hosts.
_LAUNCHED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_HOSTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
# Bytes that are sent at a time; the memory that it takes on a device.
_PIECE = 2**22


class Cluster(NamedTuple):
    """Where the other processes are.

    Attributes:
      coordinator: host:port of process 0, "auto" to learn all three from the environment (TPU pod,
        Slurm, Open MPI, Kubernetes), "" for a process of its own.
      num_processes, process_index: of the run; None to learn them from the environment.
    """

    coordinator: str = ""
    num_processes: int | None = None
    process_index: int | None = None


def join_processes(cluster: Cluster) -> None:
    """Joins the other processes; must come before anything else that uses jax.

    Raises: ValueError if the processes cannot be found, or if a launcher has started several and
      they were not told to join: each would train a copy of its own in the same directory.
    """
    if not cluster.coordinator:
        _check_alone(cluster)
        return
    given: dict[str, Any] = {}
    if cluster.coordinator != "auto":
        given["coordinator_address"] = cluster.coordinator
    if cluster.num_processes is not None:
        given["num_processes"] = cluster.num_processes
    if cluster.process_index is not None:
        given["process_id"] = cluster.process_index
    try:
        jax.distributed.initialize(**given)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the processes of the run could not join ({error}). Where the cluster's environment "
            "does not say so, give --coordinator HOST:PORT --num-processes N --process-index I."
        ) from error
    set_process(jax.process_index(), jax.process_count())
    _connect()


def _connect() -> None:
    """The first collectives of all processes, and of all devices.

    They open the connections, on CPUs within 30 seconds of each other: now, when the processes have
    just met, and not after one has read its data, or compiled its step, faster than another.
    """
    wait_for_all("the processes have joined")
    everywhere = Mesh(np.array(jax.devices()), ("all",))
    ones = jax.make_array_from_callback(
        (jax.device_count(),),
        NamedSharding(everywhere, PartitionSpec("all")),
        lambda _: np.ones(1, np.int32),
    )
    total = jax.jit(jnp.sum, out_shardings=NamedSharding(everywhere, PartitionSpec()))(ones)
    jax.block_until_ready(total)


def _check_alone(cluster: Cluster) -> None:
    if cluster.num_processes is not None or cluster.process_index is not None:
        raise ValueError("--num-processes and --process-index need --coordinator HOST:PORT.")
    counts = {name: os.environ.get(name, "") for name in _LAUNCHED}
    counts |= {name: str(len(os.environ.get(name, "").split(","))) for name in _HOSTS}
    several = {name: count for name, count in counts.items() if count.isdigit() and int(count) > 1}
    if several:
        name, count = next(iter(several.items()))
        raise ValueError(
            f"{count} processes of this run were started ({name}), and none knows of the others; "
            "add --coordinator auto."
        )


def is_lead() -> bool:
    """Whether this is the process that prints, and writes what all have in common."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def from_all(value: Value) -> list[Value]:
    """The value of every process, by process index, in every process: for small values."""
    if jax.process_count() == 1:
        return [value]
    content = np.frombuffer(pickle.dumps(value), np.uint8)
    lengths = multihost_utils.process_allgather(np.asarray(content.size, np.int32))
    padded = np.zeros(int(np.max(lengths)), np.uint8)
    padded[: content.size] = content
    gathered = np.asarray(multihost_utils.process_allgather(padded))
    return [
        pickle.loads(row[:length].tobytes())
        for row, length in zip(gathered, np.ravel(lengths).tolist(), strict=True)
    ]


def to_lead(value: Value) -> list[Value]:
    """The value of every process, by process index, in the lead process; nothing in the others.

    Values may be of any size: they travel in pieces, from one process after the other, and to the
    lead alone. One short program is compiled for each other process.
    """
    number, me = jax.process_count(), jax.process_index()
    if number == 1:
        return [value]
    content = pickle.dumps(value)
    lengths = from_all(len(content))
    size = min(_PIECE, 2 ** (max(lengths) - 1).bit_length())
    nothing = np.zeros(size, np.uint8)
    values = [value]
    for sender in range(1, number):
        send = _sending(sender)
        received = bytearray()
        for start in range(0, lengths[sender], size):
            piece = content[start : start + size] if me == sender else b""
            padded = np.frombuffer(piece.ljust(size, b"\0"), np.uint8) if piece else nothing
            received += send(padded).tobytes()
        if is_lead():
            values.append(pickle.loads(received[: lengths[sender]]))
    return values if is_lead() else []


def _sending(sender: int) -> Callable[[np.ndarray], np.ndarray]:
    """From this process's row to what it receives: the sender's row in the lead, zeros elsewhere.

    All processes must call it.
    """
    firsts = [jax.local_devices(process_index=i)[0] for i in range(jax.process_count())]
    mesh = Mesh(np.array(firsts), ("process",))
    rows = NamedSharding(mesh, PartitionSpec("process"))
    move = jax.jit(
        jax.shard_map(
            lambda row: jax.lax.ppermute(row, "process", [(sender, 0)]),
            mesh=mesh,
            in_specs=rows.spec,
            out_specs=rows.spec,
        )
    )

    def send(row: np.ndarray) -> np.ndarray:
        here = jax.device_put(row[None], firsts[jax.process_index()])
        shape = len(firsts), len(row)
        given = jax.make_array_from_single_device_arrays(shape, rows, [here])
        return np.asarray(move(given).addressable_data(0))

    return send


def from_lead(compute: Callable[[], Value]) -> Value:
    """What `compute` gives in the lead process, in every process; the others do not compute."""
    return next(iter(from_all(compute() if is_lead() else None)))  # pyright: ignore[reportReturnType]
