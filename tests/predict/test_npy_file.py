"""Parts of .npy files equal parts of the arrays; what is no image is named."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pointrend_jax.pixel_format import PixelFormat
from pointrend_jax.predict.npy_file import NpyImage, NpyLabels


def test_parts_of_an_image_equal_those_of_the_array(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    np.save(tmp_path / "image.npy", pixels)
    image = NpyImage(tmp_path / "image.npy")
    assert (image.shape, image.dtype) == (pixels.shape, pixels.dtype)
    np.testing.assert_array_equal(image[3:20, 7:39], pixels[3:20, 7:39])
    np.testing.assert_array_equal(image[28:99, 0:99], pixels[28:])


def test_what_was_read_and_written_does_not_stay_in_memory(tmp_path: Path) -> None:
    memory = Path("/proc/self/statm")
    if not memory.exists():
        pytest.skip("needs Linux, which says which pages of files are resident")

    def file_mib() -> float:
        return int(memory.read_text().split()[2]) * os.sysconf("SC_PAGESIZE") / 2**20

    side = 4096
    np.lib.format.open_memmap(tmp_path / "image.npy", "w+", np.uint8, (side, side, 3))
    image, before = NpyImage(tmp_path / "image.npy"), file_mib()
    with NpyLabels(tmp_path / "labels.npy", (side, side)) as labels:
        for start in range(0, side, 512):
            labels[start : start + 512, :] = image[start : start + 512, :][..., 0]
        # Of 64 MiB. The slack is for code that is loaded meanwhile.
        assert file_mib() - before < 8


def test_written_parts_are_read_by_numpy(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    expected = np.zeros((50, 60), np.uint8)
    with NpyLabels(path, (50, 60)) as labels:
        for rows, columns in ((slice(0, 20), slice(10, 60)), (slice(40, 50), slice(0, 5))):
            part = np.random.default_rng(1).integers(0, 255, expected[rows, columns].shape)
            expected[rows, columns] = part
            labels[rows, columns] = part.astype(np.uint8)
    np.testing.assert_array_equal(np.load(path), expected)


def test_a_part_of_another_shape_is_refused(tmp_path: Path) -> None:
    with (
        NpyLabels(tmp_path / "labels.npy", (5, 6)) as labels,
        pytest.raises(ValueError, match=r"from shape \(2,5\) into shape \(2,6\)"),
    ):
        labels[0:2, 0:6] = np.zeros((2, 5), np.uint8)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((4, 4, 3)), "got float64"),
        (np.zeros((4, 4), np.uint8), r"uint8 \[height, width, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"got uint8 \(0, 4, 3\)"),
        (np.array([None, {}], object), r"no whole \.npy file of numbers .*Python objects in dtype"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray, match: str) -> None:
    np.save(tmp_path / "other.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=match):
        NpyImage(tmp_path / "other.npy")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">u2", "<u2"])
def test_arrays_of_any_order_are_read(tmp_path: Path, order: Literal["C", "F"], dtype: str) -> None:
    array = np.arange(60, dtype=np.uint16).reshape(4, 5, 3)
    np.save(tmp_path / "image.npy", array.astype(dtype, order=order))
    image = NpyImage(tmp_path / "image.npy", PixelFormat(3, "uint16", (0.0, 99.0), (0, 1, 2)))
    part = image[1:3, 2:5]
    assert image.dtype == part.dtype == np.uint16
    assert part.flags.c_contiguous
    np.testing.assert_array_equal(part, array[1:3, 2:5])


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        NpyImage(tmp_path / "none.npy")
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(ValueError, match=r"is no whole \.npy file"):
        NpyImage(tmp_path / "text.npy")


def test_a_file_that_ends_early_is_named(tmp_path: Path) -> None:
    path = tmp_path / "image.npy"
    np.save(path, np.zeros((30, 40, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"no whole \.npy file .*greater than file size.*; restore it"
    ):
        NpyImage(path)


@pytest.mark.parametrize(
    "header",
    [b"{'descr': '|u1'", b"'''", b"{[]: 1}", b"{'descr': (), 'fortran_order': False, 'shape': ()}"],
)
def test_a_damaged_header_is_named(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "image.npy"
    header = header.ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"image\.npy is no whole \.npy file"):
        NpyImage(path)


@pytest.mark.parametrize("shape", ["(9999999999999999999999, 9, 3)", "(4611686018427387904, 9, 3)"])
def test_a_shape_beyond_the_file_is_named(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "image.npy"
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"image\.npy is no whole \.npy file"):
        NpyImage(path)


def test_an_interrupted_writer_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="into shape"), NpyLabels(path, (4, 4)) as labels:
        labels[0:4, 0:4] = np.ones((4, 5), np.uint8)
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["labels.npy"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none.labels\.npy cannot be written"):
        NpyLabels(tmp_path / "none" / "labels.npy", (4, 4))
