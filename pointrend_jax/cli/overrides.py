"""Fields of a config on the command line: `--config.train.steps=100`.

The type of the field decides how its value is read: texts as they are, numbers and True or False as
such, tuples as Python writes them. `--config.train.remat` is True and `--noconfig.train.remat`
False. What a field may be is checked with the whole config (`config_rules.py`).
"""

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pointrend_jax.config import check_field
from pointrend_jax.config_rules import RULES
from pointrend_jax.structures import Config

_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")
_KINDS = {bool: "True or False", int: "a whole number", float: "a number", tuple: "a tuple"}


class Override(NamedTuple):
    """A field ("train.steps") and what is given for it; None if the flag had no value."""

    field: str
    text: str | None


def split_overrides(arguments: Sequence[str]) -> tuple[list[Override], list[str]]:
    """Overrides among the arguments of a command, in their order, and the other arguments.

    Raises: ValueError for a `--noconfig.` with a value.
    """
    overrides: list[Override] = []
    others: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if name.startswith("--noconfig."):
            if equals:
                raise ValueError(f"{name} is False by itself; leave out {argument[len(name) :]}.")
            overrides.append(Override(name.removeprefix("--noconfig."), "False"))
        elif name.startswith("--config."):
            if not equals and rest and not rest[0].startswith("--"):
                value, equals = rest.pop(0), "="
            overrides.append(Override(name.removeprefix("--config."), value if equals else None))
        else:
            others.append(argument)
    return overrides, others


def apply_overrides(config: Config, overrides: Sequence[Override]) -> Config:
    """`config` with the given fields; of several for one field the last counts.

    Raises: ValueError if there is no such field, or its value is of another type.
    """
    for field, text in overrides:
        check_field(config, field)
        current = config
        for part in field.split("."):
            current = current[part]
        config.update_from_flattened_dict({field: _value(field, text, current)})
    return config


def _value(field: str, text: str | None, current: Any) -> Any:
    if isinstance(current, ConfigDict):
        raise ValueError(
            f"config.{field} is a group; set its fields, as in "
            f"--config.{field}.{next(iter(current.keys()), 'FIELD')}=VALUE."
        )
    if text is None:
        if isinstance(current, bool):
            return True
        raise ValueError(f"--config.{field} needs a value, as in --config.{field}={current!r}.")
    try:
        return _READERS.get(type(current), _literal)(text)
    except ValueError as error:
        kind = _KINDS.get(type(current), "a value as Python writes it")
        must = RULES[field].what if field in RULES else kind
        raise ValueError(f"config.{field} must be {must}, got {text!r}. {error}".strip()) from error


def _boolean(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError
    return text.lower() in _TRUE


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError from None


def _tuple(text: str) -> tuple[Any, ...]:
    """The items of a list; one item, such as a name without quotes, is a list of it alone."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        if any(character in text for character in "()[],'\""):
            raise ValueError(
                "A tuple is written as in Python, with every text in quotes, as in "
                "\"('box_head', 'mask_head')\"."
            ) from None
        value = text
    if isinstance(value, (dict, set)):
        raise ValueError("A tuple is written as in Python.")
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _literal(text: str) -> Any:
    """The value of a field that has no type yet."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


_READERS = {bool: _boolean, int: _integer, float: _number, tuple: _tuple, str: str}
