"""The fields of a config for `--help`: groups, values and comments, from `configs/base.py`."""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator

from pointrend_jax.config_rules import RULES
from pointrend_jax.configs import base

_WIDTH = 100


def describe_fields() -> str:
    """Every field with its value in base and its comment there, group by group."""
    comments = field_comments(inspect.getsource(base))
    config = base.get_config()
    lines = [
        "fields of a config, with the values of base; each is set by its flag, as in",
        "--config.train.steps=100 --config.model.norm=batch_norm --config.train.remat=True",
    ]
    group = None
    for field in RULES:
        if field.rpartition(".")[0] != group:
            group = field.rpartition(".")[0]
            lines.append(f"\n--config.{group}." if group else "\n--config.")
        value = config
        for part in field.split("."):
            value = value[part]
        lines += _field_lines(field.rpartition(".")[2], value, comments.get(field, ""))
    return "\n".join(lines)


def _field_lines(name: str, value: object, comment: str) -> Iterator[str]:
    line = f"  {name}={value}" if isinstance(value, str) else f"  {name}={value!r}"
    if comment and len(line) + 2 + len(comment) <= _WIDTH:
        yield f"{line}  {comment}"
        return
    yield line
    yield from textwrap.wrap(
        comment, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )


def field_comments(source: str) -> dict[str, str]:
    """By field ("train.steps"), the comment above its line and the one behind it.

    Args:
      source: of a module whose `get_config` makes a group as in `config.train = train =
        ConfigDict()` and sets a field as in `train.steps = 1  # steps`.
    """
    comments = _comments(source)
    groups, found = {"config": ""}, {}
    for statement in ast.walk(ast.parse(source)):
        if not isinstance(statement, ast.Assign):
            continue
        aliases = [t.id for t in statement.targets if isinstance(t, ast.Name)]
        fields = [t for t in statement.targets if isinstance(t, ast.Attribute)]
        for target in fields:
            parent = target.value
            if not isinstance(parent, ast.Name) or parent.id not in groups:
                continue
            field = f"{groups[parent.id]}{target.attr}"
            groups |= dict.fromkeys(aliases, f"{field}.")
            behind = comments.get(statement.end_lineno, (False, ""))[1]
            found[field] = " ".join([*_above(comments, statement.lineno), behind]).strip()
    return found


def _comments(source: str) -> dict[int | None, tuple[bool, str]]:
    """By line: whether the comment is alone there, and its text."""
    return {
        token.start[0]: (token.line.lstrip().startswith("#"), token.string[1:].strip())
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }


def _above(comments: dict[int | None, tuple[bool, str]], line: int) -> list[str]:
    """The lines of the comment that ends just above `line`."""
    first = line
    while comments.get(first - 1, (False, ""))[0]:
        first -= 1
    return [comments[i][1] for i in range(first, line)]
