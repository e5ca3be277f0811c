"""The comparison itself: a parity table that cannot fail would be worth nothing."""

import numpy as np

from parity.compare import Check, compare


def test_compare_is_exact_for_integers_and_booleans() -> None:
    assert not compare("f", Check("q", np.array([1, 2]), np.array([1, 3]))).passed
    assert not compare("f", Check("q", np.array([True]), np.array([False]))).passed


def test_compare_measures_against_the_largest_value() -> None:
    golden = np.array([1e-3, 1000.0])
    assert compare("f", Check("q", golden + 9e-3, golden)).passed
    assert not compare("f", Check("q", golden + 2e-2, golden)).passed


def test_compare_fails_on_nan_and_on_another_shape() -> None:
    assert not compare("f", Check("q", np.array([np.nan]), np.array([1.0]))).passed
    assert not compare("f", Check("q", np.zeros((2, 1)), np.zeros((1, 2)))).passed
