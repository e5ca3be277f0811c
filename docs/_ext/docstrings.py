"""Docstrings as Sphinx reads them: plain text with code in backticks, in sections."""

import re
from typing import Any

from sphinx.application import Sphinx

# A section may begin in the line of its name.
_SECTION = re.compile(r"(Args|Attributes|Args and errors|Example|Returns|Raises|Source): *(.*)")
_CODE_OR_MARK = re.compile(r"(`[^`]*`)|([*|]|(?<=\w)_(?!\w))")
_TYPES = {"jaxlib._jax.Array": "Array", "numpy.ndarray": "np.ndarray"}


def setup(app: Sphinx) -> dict[str, Any]:
    # Before napoleon (500) adds marks of its own.
    app.connect("autodoc-process-docstring", _to_rst, priority=400)
    app.connect("autodoc-process-signature", _shorten_types)
    return {"parallel_read_safe": True}


def _to_rst(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    result: list[str] = []
    section = ""
    # Python describes fields of named tuples by their numbers; the docstring of their class says
    # what they are.
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()
    for line in lines:
        if match := _SECTION.fullmatch(line):
            section = match[1]
            result += ["", f"{section}:"]
            if section == "Example":
                result += ["  .. code-block:: python", ""]
            if match[2]:
                result.append("  " + _escape(match[2]))
        elif section == "Example" and line.startswith(" "):
            result.append("  " + line)
        else:
            result.append(_escape(line))
    lines[:] = result


def _escape(line: str) -> str:
    """Stars and the like mean themselves, but in code."""
    return _CODE_OR_MARK.sub(lambda match: match[1] or f"\\{match[2]}", line)


def _shorten_types(
    app: Sphinx,
    what: str,
    name: str,
    thing: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Types as the code writes them."""
    for long, short in _TYPES.items():
        signature = signature and signature.replace(long, short)
        returns = returns and returns.replace(long, short)
    return signature, returns
