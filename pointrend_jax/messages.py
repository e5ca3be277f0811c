"""What a message quotes: names as the eye must see them, lists and texts cut to what is read."""

from collections.abc import Sequence

# Of a list, unless it is said.
_LISTED = 5
# Characters of a name.
_LONGEST_NAME = 300


def first(items: Sequence[str], listed: int = _LISTED) -> str:
    """The first few of a list, each as it is `shown`, and how many more there are."""
    more = len(items) - listed
    return ", ".join(map(shown, items[:listed])) + (f" and {more} more" if more > 0 else "")


def first_lines(lines: Sequence[str], listed: int = _LISTED) -> list[str]:
    """The first few lines of many, and one that says how many more there are."""
    more = len(lines) - listed
    return [*lines[:listed], *([f"and {more} more"] if more > 0 else [])]


def shown(name: str) -> str:
    """A name for a message: as it is, or quoted where the eye would miss a part of it.

    A very long one without its middle.
    """
    printed = name if name.isprintable() and name == name.strip() else repr(name)
    return without_middle(printed, _LONGEST_NAME)


def without_middle(text: str, longest: int) -> str:
    """Both ends of a text of more than `longest` characters; others as they are."""
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2]} ... {text[-(longest // 2) :]}"
