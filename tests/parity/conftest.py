"""What holds for parity: programs are compiled as users' are, with every optimisation."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def optimised_programs() -> Iterator[None]:
    """Machine code as outside of the tests, because its rounding is what is compared."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
