"""The parser of one command: required flags first, examples last, either spelling of a flag."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointrend_jax.storage import local_path


class CommandParser(argparse.ArgumentParser):
    """The parser of `pointrend_jax COMMAND`.

    Attributes:
      epilog: follows the flags in the help; a command may add to it.
    """

    def __init__(self, command: str, description: str, examples: Sequence[str]) -> None:
        """Args: examples, whole commands, for the help."""
        super().__init__(
            prog=f"pointrend_jax {command}",
            description=description,
            epilog="\n".join(["examples:", *(f"  {example}" for example in examples)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            # A flag that is added later must not change what a command of today means.
            allow_abbrev=False,
        )
        self._needed = self.add_argument_group("required")
        self._optional = self.add_argument_group("options")
        self.add_argument("-h", "--help", action="help", help="show this and end")

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """As that of argparse, in the group where people look for it."""
        may_be_missing = names[0].startswith("-") or settings.get("nargs") == "?"
        needed = settings.get("required") or not may_be_missing
        group = self._needed if needed else self._optional
        return group.add_argument(*names, **settings)

    def add_choice(self) -> Any:
        """A group of flags of which exactly one must be given."""
        return self._needed.add_mutually_exclusive_group(required=True)


def hyphened(argument: str) -> str:
    """The flag `--accept_changes` as `--accept-changes`; anything else as it is."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def path(text: str) -> Path:
    """A path of this machine, for `type=`."""
    try:
        return local_path(text)
    except ValueError as error:
        # argparse tells of a ValueError only that there was one.
        raise argparse.ArgumentTypeError(str(error)) from error


def count(least: int) -> Any:
    """A whole number of at least that, for `type=`."""

    def parsed(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(
                f"it must be a whole number of at least {least}, got {text!r}"
            )
        return number

    return parsed


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them, for `type=`."""
    return tuple(name.strip() for name in text.split(","))
