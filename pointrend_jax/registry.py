"""What a field of a config may name: the parts that come with the package, and those of a user."""

from collections.abc import Collection, Iterator, Mapping
from typing import Generic, TypeVar

Part = TypeVar("Part")

# Ends every message about a name that is not known.
OF_YOUR_OWN = (
    "A part of your own has a name once the file that adds it has run: import it in the config, or "
    "give the file with --import"
)


class Registry(Generic[Part]):
    """The parts that one field of a config may name, in a fixed order: built-in ones, then others.

    The built-in ones are the lines of a table; `add` is for the files of users alone.
    """

    def __init__(
        self, field: str, built_in: Mapping[str, Part], *, besides: Collection[str] = ()
    ) -> None:
        """Args:
        field: such as "config.model.backbone", for messages.
        besides: values of the field that stand for no part, and that no part may be called.
        """
        self.field = field
        self._besides = tuple(besides)
        self._built_in = dict(built_in)
        self._own: dict[str, Part] = {}

    def add(self, name: str, part: Part) -> None:
        """Lets the field name a part of your own.

        Adding a name again replaces its part, as a file may run more than once in a process.

        Raises: ValueError for a name that is built in, or no name.
        """
        if not name.isidentifier():
            raise ValueError(
                f"{self.field}: a part must be called by letters, digits and underscores, got "
                f"{name!r}."
            )
        if name in (*self._built_in, *self._besides):
            raise ValueError(f"{self.field} {name!r} is built in; give yours another name.")
        self._own[name] = part

    def is_own(self, name: str) -> bool:
        """Whether a user added the part."""
        return name in self._own

    def __getitem__(self, name: str) -> Part:
        """Raises: ValueError, listing what there is, for an unknown name."""
        if name not in self:
            raise ValueError(
                f"{self.field} must be one of {[*self, *self._besides]}, got {name!r}. "
                f"{OF_YOUR_OWN}."
            )
        return self._own[name] if name in self._own else self._built_in[name]

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in self._own

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from self._own
