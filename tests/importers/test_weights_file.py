"""Any weight file is recognised by its content, and what cannot be read says why."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from pointrend_jax.importers.weights_file import read_weights_file
from tests.importers.legacy_file import dict_pickle, legacy_bytes, legacy_state_dict, tensor_opcodes
from tests.importers.zip_file import archive_bytes, zip_bytes, zip_state_dict, zip_tensor

TENSORS = {
    "backbone.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "backbone.bias": np.asarray([1.5, -2.0], np.float16),
}
WEIGHT = TENSORS["backbone.weight"]


def _write(tmp_path: Path, content: bytes, name: str = "weights.bin") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def _assert_tensors(tensors: dict[str, np.ndarray], expected: dict[str, np.ndarray] = TENSORS):
    assert tensors.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name], array, strict=True)


def _with_header_of(num_bytes: int) -> bytes:
    """A safetensors file whose header is filled up with spaces."""
    content = save(TENSORS)
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].ljust(num_bytes)
    return num_bytes.to_bytes(8, "little") + header + content[8 + length :]


@pytest.mark.parametrize(
    "content",
    [
        *(pickle.dumps(TENSORS, protocol) for protocol in range(6)),
        legacy_state_dict(TENSORS),
        zip_state_dict(TENSORS),
        save(TENSORS),
        # A header of 3 * 128 bytes begins like a pickle.
        _with_header_of(384),
    ],
)
def test_kind_is_found_by_content(tmp_path: Path, content: bytes):
    weights = read_weights_file(_write(tmp_path, content))
    assert weights.ignored == ()
    _assert_tensors(weights.tensors)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("wrapper", ["model", "state_dict", "blobs"])
def test_wrapped_tensors_are_found_and_the_rest_is_listed(
    tmp_path: Path, wrapper: str, protocol: int
):
    data = {
        wrapper: OrderedDict(**TENSORS, lr=0.02),
        "__author__": "Detectron2 Model Zoo",
        "matching_heuristics": True,
        "best": np.float64(3.5),
        "history": [1, None, {"a": (2, 3)}],
        7: WEIGHT,
    }
    weights = read_weights_file(_write(tmp_path, pickle.dumps(data, protocol)))
    _assert_tensors(weights.tensors)
    assert weights.ignored == tuple(
        sorted(["7", "__author__", "best", "history", "matching_heuristics", f"{wrapper}/lr"])
    )


def _entry(name: str, value: bytes) -> bytes:
    return b"X" + len(name).to_bytes(4, "little") + name.encode() + value


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_training_checkpoint_gives_its_model_alone(tmp_path: Path, layout: str):
    momentum = np.ones(3, np.float32)
    is_zip = layout == "zip"
    weight = zip_tensor("0", WEIGHT) if is_zip else tensor_opcodes("0", WEIGHT)
    buffer = zip_tensor("1", momentum) if is_zip else tensor_opcodes("1", momentum)
    plain = {"lr_lambdas": [None], "milestones": (3, 5), "last_epoch": 9}
    opcodes = (
        b"\x80\x02}("
        + _entry("optimizer", b"}K\x00}" + _entry("momentum_buffer", buffer) + b"ss")
        + _entry("scheduler", pickle.dumps(plain, 2)[2:-1])
        + _entry("model", dict_pickle({"w": weight})[2:-1])
        + _entry("iteration", b"Kc")
        + _entry("device", b"ctorch\ndevice\n" + pickle.dumps(("cuda", 0), 2)[2:-1] + b"R")
        + b"u."
    )
    # The zip file lacks the optimizer's record: what is not wanted is not even read.
    content = (
        zip_bytes(opcodes, {"0": WEIGHT.tobytes()})
        if is_zip
        else legacy_bytes(opcodes, {"1": momentum, "0": WEIGHT})
    )
    weights = read_weights_file(_write(tmp_path, content))
    _assert_tensors(weights.tensors, {"w": WEIGHT})
    assert weights.ignored == ("device", "iteration", "optimizer", "scheduler")


def test_cut_in_a_storage_that_is_not_wanted_is_refused(tmp_path: Path):
    momentum = np.ones(3, np.float32)
    opcodes = (
        b"\x80\x02}(" + _entry("momentum", tensor_opcodes("1", momentum))
        + _entry("model", dict_pickle({"w": tensor_opcodes("0", WEIGHT)})[2:-1]) + b"u."
    )  # fmt: skip
    content = legacy_bytes(opcodes, {"0": WEIGHT, "1": momentum})
    assert read_weights_file(_write(tmp_path, content)).ignored == ("momentum",)
    with pytest.raises(ValueError, match="12 bytes of a storage expected, 11 left"):
        read_weights_file(_write(tmp_path, content[:-1]))


def test_numpy_arrays_in_a_torch_file_are_read(tmp_path: Path):
    content = zip_bytes(pickle.dumps({"model": TENSORS}, 2), {})
    _assert_tensors(read_weights_file(_write(tmp_path, content)).tensors)


def test_ordered_dict_of_python_2_is_read(tmp_path: Path):
    pairs = b"](](" + _entry("w", pickle.dumps(WEIGHT, 2)[2:-1]) + b"ee"
    content = b"\x80\x02ccollections\nOrderedDict\n" + pairs + b"\x85R."
    _assert_tensors(read_weights_file(_write(tmp_path, content)).tensors, {"w": WEIGHT})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "it is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs pointer.*git lfs"),
        (b"\x89HDF\r\n\x1a\n\x00", "an HDF5 file"),
        (b"\x08\x08\x12\x07pytorch", "an ONNX model"),
        (b"\x1f\x8b\x08\x00", "gzip-compressed"),
        (b"\x93NUMPY\x01\x00", "a single numpy array"),
        (archive_bytes({"w.npy": b"x"}), "an .npz"),
        (b"just text", "of no known kind .it begins with b'just tex'"),
        (pickle.dumps(TENSORS, 4)[:-20], "The file may be cut off"),
        (pickle.dumps(TENSORS, 2)[:300], "The file may be cut off"),
        (zip_state_dict(TENSORS)[:-30], "cut off or damaged"),
        (legacy_state_dict(TENSORS)[:-1], "the file is cut off"),
        (pickle.dumps(TENSORS, 4) + b"more", "bytes follow the end of its pickle"),
        (pickle.dumps([WEIGHT]), "must hold a dict of tensors, but holds a list"),
        (pickle.dumps(WEIGHT), "must hold a dict of tensors, but holds a single tensor"),
        (pickle.dumps({}), "holds no tensor .found: nothing"),
        (pickle.dumps({"epoch": 3, "name": "x"}), "holds no tensor .found: epoch, name"),
        (pickle.dumps({"model": {"lr": 3}}), "holds no tensor .found: model/lr"),
        (pickle.dumps({"model": TENSORS, "state_dict": TENSORS}), "under model and state_dict"),
        (pickle.dumps({"model": {"model": TENSORS}}), "entry model/'model' must be a tensor, but"),
        (pickle.dumps({"w": WEIGHT, "ema": TENSORS}), "entry 'ema' must be a tensor, but is a d"),
        (pickle.dumps({3: WEIGHT}), "names of tensors must be text, got the number 3"),
        (
            b"\x80\x02}" + _entry("w", b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n")
            + b"NNtRs.",
            "tensor 'w' has no content",
        ),
    ],
)  # fmt: skip
def test_other_content_is_refused_in_words(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(ValueError, match=message) as error:
        read_weights_file(_write(tmp_path, content, "model_final.pkl"))
    assert "model_final.pkl" in str(error.value)


def test_missing_file_and_directory_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"none\.pkl does not exist"):
        read_weights_file(tmp_path / "none.pkl")
    with pytest.raises(ValueError, match="is a directory; give the weight file in it"):
        read_weights_file(tmp_path)


@pytest.mark.parametrize("write", [zip_state_dict, legacy_state_dict, pickle.dumps])
def test_flipped_byte_raises_nothing_but_value_error(tmp_path: Path, write):
    content = write(TENSORS)
    refused = 0
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 0xD5
        try:
            read_weights_file(_write(tmp_path, bytes(damaged)))
        except ValueError:
            refused += 1
    assert refused > 20


class _Attack:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.mark.parametrize("container", ["pickle", "torch_zip", "torch_legacy"])
@pytest.mark.parametrize("place", ["model", "tensor", "beside"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_file_is_refused_by_name_and_leaves_no_trace(
    tmp_path: Path, container: str, place: str, protocol: int
):
    trace = tmp_path / "trace"
    attack = _Attack(f"touch {trace}")
    data = {
        "model": attack,
        "tensor": {"model": {**TENSORS, "extra": attack}},
        "beside": {"model": TENSORS, "optimizer": {"state": [attack]}},
    }[place]
    attacked = pickle.dumps(data, protocol)
    content = {
        "pickle": attacked,
        "torch_zip": zip_bytes(attacked, {}),
        "torch_legacy": legacy_bytes(attacked, {}),
    }[container]
    with pytest.raises(ValueError, match=r"names (posix|nt)\.system"):
        read_weights_file(_write(tmp_path, content))
    assert not trace.exists()
