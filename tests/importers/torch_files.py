"""What the tests of both of torch's layouts write, and how they read it."""

from pathlib import Path

import numpy as np

from pointrend_jax.importers.weights_file import read_weights_file

TENSORS = {
    "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "bias": np.asarray([1.5, -2.0], np.float16),
    "count": np.asarray(7, np.int64),
    "nothing": np.zeros((0, 2), np.float32),
}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "weights.pth"
    path.write_bytes(content)
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    return read_weights_file(path).tensors


def assert_tensors(path: Path) -> None:
    """The file has `TENSORS`, with their types and shapes."""
    tensors = read(path)
    assert tensors.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], expected, strict=True)
