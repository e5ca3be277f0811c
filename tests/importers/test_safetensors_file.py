"""Files in safetensors' format, written out byte by byte."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.importers.safetensors_file import (
    is_safetensors,
    read_safetensors,
    read_texts,
    write_safetensors,
)
from pointrend_jax.importers.weights_file import read_weights_file


def safetensors_bytes(header: dict[str, Any], content: bytes) -> bytes:
    """A file as the format's own document has it: length of the header, header, arrays."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text + content


def _file(tmp_path: Path, kind: str, content: bytes, shape: tuple[int, ...] = (2,)) -> Path:
    tensor = {"dtype": kind, "shape": list(shape), "data_offsets": [0, len(content)]}
    path = tmp_path / "w.bin"
    path.write_bytes(safetensors_bytes({"__metadata__": {"a": "b"}, "x": tensor}, content))
    return path


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("F32", b"\0\0\x80\x3f\0\0\0\xc0", np.asarray([1, -2], np.float32)),
        ("F16", b"\0\x3c\0\xc0", np.asarray([1, -2], np.float16)),
        # The upper halves of the float32 of the same numbers.
        ("BF16", b"\x80\x3f\0\xc0", np.asarray([1, -2], np.float32)),
        ("I64", b"\1" + bytes(7) + b"\xff" * 8, np.asarray([1, -1], np.int64)),
    ],
)
def test_numbers_of_a_file_are_read(
    tmp_path: Path, kind: str, content: bytes, expected: np.ndarray
) -> None:
    path = _file(tmp_path, kind, content)
    tensors, texts = read_safetensors(path)
    np.testing.assert_array_equal(tensors["x"], expected, strict=True)
    assert not tensors["x"].flags.writeable
    assert texts == read_texts(path) == {"a": "b"}


def test_it_is_a_weights_file_by_its_content(tmp_path: Path) -> None:
    found = read_weights_file(_file(tmp_path, "F32", bytes(24), (2, 3)))
    assert found.tensors["x"].shape == (2, 3)
    assert found.ignored == ()


_BROKEN = {
    "cut off": (lambda content: content[:-1], "damaged safetensors file .*Get it again"),
    "too long": (lambda content: content + b"\0", "damaged safetensors file"),
    "of 8 bits": (lambda _: _of_bytes("F8_E5M2"), "tensor x is of the type F8_E5M2"),
    "empty": (lambda _: safetensors_bytes({"__metadata__": {}}, b""), "holds no tensor"),
}


@pytest.mark.parametrize(("change", "message"), _BROKEN.values(), ids=_BROKEN)
def test_what_cannot_be_read_says_why(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    path = _file(tmp_path, "F32", bytes(8))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"w\.bin: .*{message}"):
        read_weights_file(path)


def _of_bytes(kind: str) -> bytes:
    tensor = {"dtype": kind, "shape": [2], "data_offsets": [0, 2]}
    return safetensors_bytes({"x": tensor}, bytes(2))


def test_what_is_written_is_read_whatever_the_order_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_safetensors(path, {"x": turned}, {"model": "é"})
    tensors, texts = read_safetensors(path)
    np.testing.assert_array_equal(tensors["x"], [[0, 3], [1, 4], [2, 5]])
    assert texts == {"model": "é"}
    assert is_safetensors(path.read_bytes()[:10])
