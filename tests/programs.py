"""What a traced program multiplies, without compiling or running it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


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


def products(program: ClosedJaxpr | Jaxpr, scope: str = "") -> Iterator[Product]:
    """Every one of a program, also those of its loops and branches.

    The names of a gradient's scopes look like "transpose(jvp(fpn))".
    """
    jaxpr: Any = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    for equation in jaxpr.eqns:
        inner = f"{scope}/{equation.source_info.name_stack}"
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield Product(set(inner.replace("(", "/").replace(")", "/").split("/")), equation)
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr)
        ):
            if isinstance(value, Jaxpr | ClosedJaxpr):
                yield from products(value, inner)
