"""The seeded faults fit the code as it is, so that `make faults` can put each of them in."""

import pytest

from benchmarks.seeded_faults import FAULTS, Fault
from tests.shared import REPOSITORY


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_one_place_and_names_tests_that_exist(fault: Fault) -> None:
    content = (REPOSITORY / "pointrend_jax" / fault.file).read_text()
    assert content.count(fault.old) == 1
    assert fault.new != fault.old
    assert all((REPOSITORY / "tests" / name).exists() for name in fault.tests)
