"""What a traced program multiplies, without compiling or running it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.extend.core import JaxprEqn


class Product(NamedTuple):
    """A matrix product or convolution: the modules around it, and its equation."""

    modules: set[str]
    equation: JaxprEqn

    @property
    def dtypes(self) -> set[str]:
        """Of what is multiplied, as in "float32"."""
        return {str(x.aval.dtype) for x in self.equation.invars}  # type: ignore[attr-defined]

    @property
    def is_exact(self) -> bool:
        """Whether every bit of float32 counts, whatever the default precision is."""
        precision = self.equation.params["precision"]
        return precision == (jax.lax.Precision.HIGHEST,) * 2


def products(program: Any, scope: str = "") -> Iterator[Product]:
    """Every one of a program, also those of its loops and branches.

    The names of a gradient's scopes look like "transpose(jvp(fpn))".

    Args:
      program: a jaxpr, closed or not; from jax 0.12 on there is one kind.
    """
    for equation in program.eqns:
        inner = f"{scope}/{equation.source_info.name_stack}"
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield Product(set(inner.replace("(", "/").replace(")", "/").split("/")), equation)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(value):
                yield from products(value, inner)


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns")
