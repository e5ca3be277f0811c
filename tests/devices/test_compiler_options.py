"""Every program that runs a model asks what a compiler is told for its platform."""

import ast
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.shared import REPOSITORY

_PACKAGE = REPOSITORY / "pointrend_jax"
# Compiled without: what draws and copies arrays, adds two of them, or is lowered and not run; what
# runs without this package; and steps by pmap, which an accelerator is not given.
_OTHERS = Counter(
    {
        "devices/processes.py": 2, "export/program.py": 1,
        "export/reader.py": 1, "tasks/augmented_instances.py": 1, "tasks/augmented_labels.py": 1,
        "tasks/task.py": 2, "training/replicas.py": 1, "training/step.py": 1,
    }
)  # fmt: skip


def test_every_program_of_a_model_asks_for_the_options_of_its_compiler() -> None:
    without = Counter(
        str(file.relative_to(_PACKAGE))
        for file in sorted(_PACKAGE.rglob("*.py"))
        for given in _compilations(ast.parse(file.read_text()))
        if not given
    )
    assert without == +_OTHERS


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("jax.jit(f)", [False]),
        ("jax.pmap(f, axis_name='a')", [False]),
        ("jax.jit(f, compiler_options=compiler_options())", [True]),
        ("partial(jax.jit, static_argnums=1)(f)", [False]),
        ("partial(jax.jit, compiler_options=options)(f)", [True]),
        ("@jax.jit\ndef f(x): return x", [False]),
        ("jax.vmap(f)", []),
    ],
)
def test_a_program_is_found_however_it_is_made(source: str, given: list[bool]) -> None:
    assert list(_compilations(ast.parse(source))) == given


def _compilations(tree: ast.AST) -> Iterator[bool]:
    """Of every `jax.jit` and `jax.pmap`: whether the call around it has `compiler_options`."""
    around = {
        part: node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for part in (node.func, *node.args)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("jax.jit", "jax.pmap"):
            call = around.get(node)
            names = [keyword.arg for keyword in call.keywords] if call else []
            yield "compiler_options" in names
