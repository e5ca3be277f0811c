"""Files in torch's zip layout: what is read, what is refused, and with which words."""

import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.importers.legacy_file import dict_pickle, storage_opcodes
from tests.importers.torch_files import TENSORS, assert_tensors, read, written
from tests.importers.zip_file import (
    archive_bytes,
    untyped_tensor,
    zip_bytes,
    zip_state_dict,
    zip_tensor,
)

WEIGHT = TENSORS["weight"]


def _read_one(
    tmp_path: Path,
    tensor: bytes,
    contents: dict[str, bytes],
    *,
    byte_order: bytes | None = b"little",
) -> np.ndarray:
    content = zip_bytes(dict_pickle({"t": tensor}), contents, byte_order=byte_order)
    return read(written(tmp_path, content))["t"]


def test_tensors_come_back_with_dtype_and_shape(tmp_path: Path):
    assert_tensors(written(tmp_path, zip_state_dict(TENSORS)))


def test_strides_and_offset_are_followed(tmp_path: Path):
    window = WEIGHT.transpose(2, 0, 1)[1:]
    strides = tuple(stride // 4 for stride in window.strides)
    tensor = _float_tensor("FloatStorage", WEIGHT.size, 1, window.shape, strides)
    found = _read_one(tmp_path, tensor, {"0": WEIGHT.tobytes()})
    np.testing.assert_array_equal(found, window)


def _float_tensor(
    storage_type: str, size: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> bytes:
    """A tensor that need not fit its storage, whose key is "0"."""
    storage = storage_opcodes("0", "torch", storage_type, size, view_metadata=b"")
    arguments = b"I%d\n" % offset + _integers(shape) + _integers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + arguments + b"I00\nNtR"


def _integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def test_tensors_that_share_a_storage_share_its_memory(tmp_path: Path):
    entries = {"a": zip_tensor("0", WEIGHT), "b": zip_tensor("0", WEIGHT)}
    content = zip_bytes(dict_pickle(entries), {"0": WEIGHT.tobytes()})
    tensors = read(written(tmp_path, content))
    np.testing.assert_array_equal(tensors["a"], WEIGHT)
    assert np.shares_memory(tensors["a"], tensors["b"])


def test_bfloat16_is_widened_to_float32(tmp_path: Path):
    values = np.asarray([1.0, -2.5, 3.0e38, 0.0078125], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    tensor = _float_tensor("BFloat16Storage", 4, 0, (4,), (1,))
    found = _read_one(tmp_path, tensor, {"0": bits.tobytes()})
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found, expected, strict=True)
    # The upper 16 bits keep 8 bits of the fraction.
    np.testing.assert_allclose(found, values, rtol=2**-7)


@pytest.mark.parametrize("dtype", ["float32", "uint16", "uint8"])
def test_tensor_of_untyped_storage_is_read(tmp_path: Path, dtype: str):
    values = np.arange(6).astype(dtype).reshape(2, 3)
    tensor = untyped_tensor("0", values.nbytes, values.shape, dtype)
    found = _read_one(tmp_path, tensor, {"0": values.tobytes()})
    np.testing.assert_array_equal(found, values, strict=True)


def test_parameter_is_its_tensor(tmp_path: Path):
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + zip_tensor("0", WEIGHT) + b"I01\nNtR"
    found = _read_one(tmp_path, parameter, {"0": WEIGHT.tobytes()})
    np.testing.assert_array_equal(found, WEIGHT)


def test_big_endian_file_is_read(tmp_path: Path):
    content = {"0": WEIGHT.astype(">f4").tobytes()}
    found = _read_one(tmp_path, zip_tensor("0", WEIGHT), content, byte_order=b"big")
    np.testing.assert_array_equal(found, WEIGHT, strict=True)


def test_file_without_byte_order_is_little_endian(tmp_path: Path):
    found = _read_one(tmp_path, zip_tensor("0", WEIGHT), {"0": WEIGHT.tobytes()}, byte_order=None)
    np.testing.assert_array_equal(found, WEIGHT)


def test_file_cut_off_anywhere_is_refused(tmp_path: Path):
    content = zip_state_dict(TENSORS)
    for length in range(0, len(content), 7):
        with pytest.raises(ValueError, match=r"Cannot read weights from .*weights\.pth"):
            read(written(tmp_path, content[:length]))


def test_flipped_byte_is_refused_or_without_effect(tmp_path: Path):
    content = zip_state_dict(TENSORS)
    refused = 0
    for position in range(0, len(content), 11):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        try:
            tensors = read(written(tmp_path, bytes(damaged)))
        except ValueError:
            refused += 1
            continue
        for name, expected in TENSORS.items():
            np.testing.assert_array_equal(tensors[name], expected, strict=True)
    assert refused > 10


WHOLE = dict_pickle({"t": zip_tensor("0", WEIGHT)})
CONTENT = {"0": WEIGHT.tobytes()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            zip_bytes(WHOLE, CONTENT, compression=zipfile.ZIP_DEFLATED),
            r"record 'model_final/data\.pkl' is compressed",
        ),
        (zip_bytes(WHOLE, {}), r"record 'model_final/data/0' of a storage is missing"),
        (
            zip_bytes(WHOLE, {"0": WEIGHT.tobytes()[:-4]}),
            "storage '0' must have 96 bytes, its record has 92",
        ),
        (zip_bytes(WHOLE, CONTENT, byte_order=b"middle"), "must say little or big"),
        (archive_bytes({"a/weight.npy": b"x"}), r"without torch's <name>/data\.pkl"),
        (archive_bytes({"a/data.pkl": WHOLE, "b/data.pkl": WHOLE}), r"without torch's <name>/data"),
        (archive_bytes({"a/data.pkl": WHOLE, "a/constants.pkl": b""}), "TorchScript program"),
        (b"PK\x03\x04rest", "zip layout but is cut off or damaged"),
        (zip_bytes(pickle.dumps([1], 2), {}), "must hold a dict of tensors, but holds a list"),
        (zip_bytes(pickle.dumps({"epoch": 3}, 2), {}), r"holds no tensor \(found: epoch\)"),
        (
            zip_bytes(dict_pickle({"t": untyped_tensor("0", 4, (4,), "float8_e5m2")}), {}),
            "torch.float8_e5m2, which it may not use",
        ),
        (
            zip_bytes(dict_pickle({"t": storage_opcodes("0", "torch", "FloatStorage", -1)}), {}),
            "not that of a whole storage",
        ),
        (
            zip_bytes(
                dict_pickle(
                    {"a": zip_tensor("0", WEIGHT), "b": zip_tensor("0", WEIGHT.astype(np.float16))}
                ),
                CONTENT,
            ),
            "storage '0' is described in two ways",
        ),
    ],
)
def test_other_content_is_refused_in_words(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, content))


@pytest.mark.parametrize("strides", [(13, 4, 1), (12, 4, 1_000_000), (12, -4, 1)])
def test_strides_beyond_the_storage_are_refused(tmp_path: Path, strides: tuple[int, ...]):
    tensor = zip_tensor("0", WEIGHT, strides=strides)
    with pytest.raises(ValueError, match=r"beyond its storage|wrong kind"):
        _read_one(tmp_path, tensor, CONTENT)


def test_tensor_that_repeats_its_storage_is_refused(tmp_path: Path):
    tensor = _float_tensor("FloatStorage", 1, 0, (10**9, 10**9), (0, 0))
    with pytest.raises(ValueError, match="beyond its storage"):
        _read_one(tmp_path, tensor, {"0": bytes(4)})


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_repeated_record_is_refused(tmp_path: Path):
    path = written(tmp_path, zip_bytes(WHOLE, CONTENT))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model_final/data/0", WEIGHT.tobytes())
    with pytest.raises(ValueError, match=r"'model_final/data/0' occurs twice"):
        read(path)


def test_records_that_claim_more_than_the_file_are_refused(tmp_path: Path):
    content = bytearray(zip_bytes(WHOLE, CONTENT))
    # Both sizes of the last entry of the archive's list of records.
    entry = content.rindex(b"PK\x01\x02")
    struct.pack_into("<II", content, entry + 20, 10**9, 10**9)
    with pytest.raises(ValueError, match=r"records claim 10000\d+ bytes, but the file has"):
        read(written(tmp_path, bytes(content)))


class _Attack:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["object", "entry", "storage", "metadata"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_pickle_inside_the_file_is_refused(tmp_path: Path, place: str, protocol: int):
    trace = tmp_path / "trace"
    attack = _Attack(f"touch {trace}")
    opcodes = pickle.dumps(attack, 2)[2:-1]
    object_pickle = {
        "object": pickle.dumps(attack, protocol),
        "entry": dict_pickle({"weight": zip_tensor("0", WEIGHT), "x": opcodes}),
        "storage": dict_pickle({"weight": b"(X\x07\x00\x00\x00storage" + opcodes + b"tQ"}),
        "metadata": b"\x80\x02}" + opcodes + b"b.",
    }[place]
    with pytest.raises(ValueError, match=r"(posix|nt)\.system"):
        read(written(tmp_path, zip_bytes(object_pickle, CONTENT)))
    assert not trace.exists()
