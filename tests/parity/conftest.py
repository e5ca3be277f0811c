"""What holds for parity: programs are compiled with every optimisation."""

import pytest


@pytest.fixture(autouse=True)
def optimised(optimised_programs: None) -> None:
    """For every test here: rounding is what is compared."""
