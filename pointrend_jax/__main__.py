"""The command line of the package, also that of train.py and eval.py."""

from collections.abc import Sequence

from pointrend_jax import cli
from pointrend_jax.cli.errors import with_clear_errors


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends in one clear line.

    Args:
      arguments: without the program's name; None for those of this process.
    """
    with_clear_errors(lambda: cli.main(arguments))


if __name__ == "__main__":
    main()
