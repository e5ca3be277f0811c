"""What holds for parity: programs are compiled as users' are, with every optimisation."""

import pytest


@pytest.fixture(autouse=True)
def as_users_compile(optimised_programs: None) -> None:
    """For every test here: rounding is what is compared."""
