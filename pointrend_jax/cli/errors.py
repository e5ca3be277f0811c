"""Errors that one can act on: one line for a mistake of the user, and a status for the shell."""

import io
import signal
import sys
from collections.abc import Callable

from absl import logging


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
        sys.exit(f"pointrend_jax: error: {error}")
    except KeyboardInterrupt:
        # As a shell says it: 128 and the signal's number.
        print("pointrend_jax: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
