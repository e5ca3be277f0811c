"""What was written is told from what is read."""

from typing import Any

import numpy as np
import pytest

from pointrend_jax.training.digests import (
    DamagedCheckpointError,
    check_arrays,
    describe_arrays,
    opened,
    sealed,
)

_TREE: dict[str, Any] = {
    "a": np.arange(6, dtype=np.float32),
    "b": {"c": np.array([1, 2], np.int32), "d": np.float32(1.0)},
}
_CONTENT = {"config": {"rate": 0.1, "sizes": (1, 2)}, "class_names": ["é", "b"]}


@pytest.mark.parametrize("bit", [0, 31, 32, 63, 191])
def test_any_flipped_bit_is_found_and_its_array_named(bit: int) -> None:
    # The sign of an element at an odd place (bit 63) among them.
    digests = describe_arrays(_TREE)
    flipped = _TREE["a"].copy()
    flipped.view(np.uint8)[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedCheckpointError, match=r"^the array a is not what was written$"):
        check_arrays(_TREE | {"a": flipped}, digests)


@pytest.mark.parametrize(
    "changed",
    [
        np.arange(6, dtype=np.float32)[::-1],
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.float32).view(np.int32),
    ],
    ids=["order", "shape", "type"],
)
def test_another_order_shape_or_type_is_another_array(changed: np.ndarray) -> None:
    with pytest.raises(DamagedCheckpointError, match="the array a"):
        check_arrays(_TREE | {"a": changed}, describe_arrays(_TREE))


def test_missing_and_extra_arrays_are_named() -> None:
    digests = describe_arrays(_TREE)
    with pytest.raises(DamagedCheckpointError, match="1 of its arrays are missing: a"):
        check_arrays({"b": _TREE["b"]}, digests)
    with pytest.raises(DamagedCheckpointError, match="1 of its arrays were never written: e"):
        check_arrays(_TREE | {"e": _TREE["a"]}, digests)


def test_of_many_damaged_arrays_the_first_are_named() -> None:
    tree = {f"array{i}": np.zeros(2) for i in range(9)}
    digests = describe_arrays({name: array + 1 for name, array in tree.items()})
    with pytest.raises(DamagedCheckpointError, match=r"9 arrays: array0.*array4 and 4 more are"):
        check_arrays(tree, digests)


def test_a_description_comes_back_as_it_was_sealed() -> None:
    content, arrays = opened(sealed(_CONTENT, {"a": "0"}))
    assert (content, arrays) == (_CONTENT, {"a": "0"})
    # A description of an earlier version has no seal.
    assert opened(_CONTENT) == (_CONTENT, None)


@pytest.mark.parametrize("name", ["config", "class_names", "sha256", "arrays_sha256"])
def test_a_changed_or_missing_part_of_a_description_is_found(name: str) -> None:
    whole = sealed(_CONTENT, {"a": "0"})
    for damaged in (whole | {name: {}}, {key: whole[key] for key in whole if key != name}):
        with pytest.raises(DamagedCheckpointError, match="description"):
            opened(damaged)
