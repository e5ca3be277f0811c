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


def products(program: ClosedJaxpr | Jaxpr) -> Iterator[Product]:
    """Every one of a program, also those of its loops and branches.

    The names of a gradient's scopes look like "transpose(jvp(fpn))".
    """
    for scope, equation in _equations(program):
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield Product(set(scope.replace("(", "/").replace(")", "/").split("/")), equation)


def loops(program: ClosedJaxpr | Jaxpr) -> list[str]:
    """The loops whose number of turns the data decides: where each stands, as in "cond/scan"."""
    return [scope for scope, equation in _equations(program) if equation.primitive.name == "while"]


def _equations(program: ClosedJaxpr | Jaxpr, scope: str = "") -> Iterator[tuple[str, JaxprEqn]]:
    """Each with what is around it: the names of modules, and of operations that hold programs."""
    jaxpr: Any = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    for equation in jaxpr.eqns:
        inner = f"{scope}/{equation.source_info.name_stack}"
        yield inner, equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr)
        ):
            if isinstance(value, Jaxpr | ClosedJaxpr):
                yield from _equations(value, f"{inner}/{equation.primitive.name}")
