"""The command line of the package."""

from pointrend_jax import cli
from pointrend_jax.flags import with_clear_errors


def main() -> None:
    """Runs the command; a user's mistake ends in one clear line."""
    with_clear_errors(cli.main)


if __name__ == "__main__":
    main()
