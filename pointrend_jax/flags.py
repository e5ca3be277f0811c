"""Flags of train.py and eval.py, overrides of a config among them, and errors one can act on."""

import io
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging

from pointrend_jax.config import check_field, load_config
from pointrend_jax.devices.processes import Cluster
from pointrend_jax.storage import expanded
from pointrend_jax.structures import Config


def check_overrides(arguments: Sequence[str]) -> None:
    """Raises ValueError for a `--config.a.b=...` among `arguments` that names no field.

    The flag library would stop too, but with a traceback and without saying what there is.
    """
    config: Config = None
    for position, argument in enumerate(arguments):
        name, _, value = argument.lstrip("-").partition("=")
        if name == "config":
            following = arguments[position + 1] if position + 1 < len(arguments) else ""
            config = load_config(value or following)
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name.startswith("config."):
            if config is None:
                raise ValueError(
                    f"--{name} overrides a field of a config, but --config is missing."
                )
            check_field(config, name.removeprefix("config."))


def run(main: Callable[[Sequence[str]], None]) -> None:
    """`app.run` that ends with one clear line for a mistake of the user (ValueError, OSError)."""

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            raise ValueError(f"unexpected arguments {list(argv[1:])}; options begin with --.")
        main(argv)

    def begin() -> None:
        arguments = expanded_config(sys.argv)
        check_overrides(arguments[1:])
        app.run(guarded, argv=arguments)

    with_clear_errors(begin)


def expanded_config(arguments: Sequence[str]) -> list[str]:
    """The arguments with the home folder for the ~ of `--config=~/x.py`, which no shell expands."""
    return [
        f"{name}={expanded(value)}" if name.lstrip("-") == "config" and equals else argument
        for argument in arguments
        for name, equals, value in [argument.partition("=")]
    ]


def with_clear_errors(action: Callable[[], object]) -> None:
    """Runs `action`; a ValueError or OSError becomes one line on stderr and exit status 1;
    Ctrl-C one line and 130."""
    # Orbax tells every step of a checkpoint at INFO, and whole files that it cannot read at ERROR;
    # what it raises is told by us.
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_logger().addFilter(lambda record: "orbax" not in record.pathname)
    # A name that a terminal cannot show (file names need not be UTF-8) is spelt out there.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        action()
    except UnicodeEncodeError:
        # Text that could not be written is a fault of this program, though Python has it as a
        # ValueError.
        raise
    except (ValueError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: error: {error}")
    except KeyboardInterrupt:
        # As a shell says it: 128 and the signal's number.
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def define_cluster() -> Callable[[], Cluster]:
    """The flags that say where the other processes of a run are, and their values once parsed."""
    coordinator = flags.DEFINE_string(
        "coordinator", "", "host:port of process 0, or auto on a TPU pod, Slurm, MPI, Kubernetes."
    )
    num_processes = flags.DEFINE_integer(
        "num_processes", None, "Of the run, if not from the environment.", lower_bound=1
    )
    process_index = flags.DEFINE_integer(
        "process_index", None, "Of this process, if not from the environment.", lower_bound=0
    )
    return lambda: Cluster(coordinator.value, num_processes.value, process_index.value)


def define_workdir() -> flags.FlagHolder[str]:
    """--workdir, which both commands need."""
    return flags.DEFINE_string(
        "workdir", None, "Where checkpoints, metrics and results go.", required=True
    )
