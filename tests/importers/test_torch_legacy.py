"""Files in torch's legacy layout: what is read, what is refused, and with which words."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.importers.legacy_file import (
    SYSTEM,
    dict_pickle,
    legacy_bytes,
    legacy_state_dict,
    tensor_opcodes,
)
from tests.importers.torch_files import TENSORS, assert_tensors, read, written


def test_tensors_come_back_with_dtype_and_shape(tmp_path: Path):
    assert_tensors(written(tmp_path, legacy_state_dict(TENSORS)))


def test_strides_of_a_transposed_tensor_are_followed(tmp_path: Path):
    storage = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = legacy_bytes(dict_pickle({"t": tensor_opcodes("0", storage.T)}), {"0": storage})
    np.testing.assert_array_equal(read(written(tmp_path, content))["t"], storage.T)


def test_tensors_that_share_a_storage_are_read(tmp_path: Path):
    array = np.arange(3, dtype=np.float32)
    entries = {"a": tensor_opcodes("0", array), "b": tensor_opcodes("0", array)}
    tensors = read(written(tmp_path, legacy_bytes(dict_pickle(entries), {"0": array})))
    np.testing.assert_array_equal(tensors["a"], tensors["b"])


@pytest.mark.parametrize("strides", [(4, 1), (1, 1_000_000), (-1, 1)])
def test_strides_beyond_the_storage_are_refused(tmp_path: Path, strides: tuple[int, int]):
    array = np.zeros((2, 3), np.float32)
    entries = {"t": tensor_opcodes("0", array, strides=strides)}
    path = written(tmp_path, legacy_bytes(dict_pickle(entries), {"0": array}))
    with pytest.raises(ValueError, match=r"beyond its storage|wrong kind"):
        read(path)


def test_file_cut_off_anywhere_is_refused(tmp_path: Path):
    content = legacy_state_dict(TENSORS)
    # The first bytes are all headers; then every tenth will do.
    for length in [*range(200), *range(200, len(content), 10), len(content) - 1]:
        with pytest.raises(ValueError, match=r"Cannot read weights from .*weights\.pth"):
            read(written(tmp_path, content[:length]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # The magic number becomes the first item of a tuple.
        (legacy_state_dict(TENSORS).replace(b".", b"\x85.", 1), "magic number is wrong"),
        (legacy_bytes(pickle.dumps([1], 2), {}), "must hold a dict of tensors, but holds a list"),
        (legacy_bytes(pickle.dumps({"epoch": 3}, 2), {}), r"holds no tensor \(found: epoch\)"),
        (legacy_bytes(dict_pickle({}), {}, system={"little_endian": False}), "little-endian"),
        (
            legacy_bytes(dict_pickle({"t": tensor_opcodes("0", TENSORS["weight"])}), TENSORS),
            "does not fit the tensors",
        ),
        (legacy_state_dict(TENSORS) + b"x", "bytes follow the last storage"),
    ],
)
def test_other_content_is_refused_in_words(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, content))


def test_storage_of_another_length_is_refused(tmp_path: Path):
    entries = {"t": tensor_opcodes("0", np.zeros(3, np.float32))}
    content = legacy_bytes(dict_pickle(entries), {"0": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="storage '0' must have 3 elements, got 2"):
        read(written(tmp_path, content))


class _Attack:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["object", "entry", "system", "magic"])
def test_hostile_pickle_inside_the_file_is_refused(tmp_path: Path, place: str):
    trace = tmp_path / "trace"
    attack = pickle.dumps(_Attack(f"touch {trace}"), 2)
    content = {
        "object": legacy_bytes(attack, {}),
        # Without its PROTO and STOP a pickle is a value among others.
        "entry": legacy_bytes(dict_pickle({"weight": attack[2:-1]}), {}),
        "system": legacy_bytes(dict_pickle({}), {}, system=[SYSTEM, _Attack(f"touch {trace}")]),
        "magic": attack + legacy_state_dict(TENSORS),
    }[place]
    with pytest.raises(ValueError, match=r"(posix|nt)\.system"):
        read(written(tmp_path, content))
    assert not trace.exists()
