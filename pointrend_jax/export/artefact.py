"""The file of an export: a zip of programs, the weights that they take, and what the model is.

    manifest.json         what there is: classes, sizes, programs, a sha256 of every other part
    model.json            the description of a checkpoint: configuration, class names, category ids
    weights.safetensors   arrays by the paths of our variables: int32, and float32 or, where it was
                          asked for, float16 or bfloat16, which the programs widen
    programs/*.jax        `jax.export`, one for each platform and canvas

jax promises to run such programs with releases of up to six months later (and three weeks earlier).
From the other parts they can be made again, because `load` takes such a file as it takes a
checkpoint. Nothing in it is executed but the programs, by the reader (export/reader.py), and no
part is ever written under a name that the file chooses.
"""

import hashlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.console import watched
from pointrend_jax.export.program import Canvases, image_program, serialized
from pointrend_jax.importers.safetensors_file import read_safetensors, write_safetensors
from pointrend_jax.storage import sha256
from pointrend_jax.structures import Config
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.checkpoints import CheckpointMeta, meta_content, parse_meta
from pointrend_jax.training.trees import flat, nested

_FORMAT, _VERSION = "pointrend_jax export", 1
_MANIFEST, _MODEL, _WEIGHTS = "manifest.json", "model.json", "weights.safetensors"
# Bytes of a packed part that is read here: a manifest, or a description.
_MOST_UNPACKED = 2**26
# What arrays of variables may be, and what those of float32 are kept as.
_TYPES = (np.float32, np.int32)
WEIGHTS = {"float32": jnp.float32, "float16": jnp.float16, "bfloat16": jnp.bfloat16}


class ExportedModel(NamedTuple):
    """A model to be exported.

    Attributes:
      category_ids: of each class; empty where none is known.
    """

    task: Task
    variables: Variables
    config: Config
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]


def write_artefact(
    file: Path,
    model: ExportedModel,
    canvases: Sequence[Canvases],
    platforms: Sequence[str],
    weights: str = "float32",
) -> dict[str, Any]:
    """Writes the zip; its manifest.

    Args:
      file: is overwritten. canvases: of each a program is made for every platform.
      weights: a key of `WEIGHTS`.
    Raises: ValueError if an array is of a type that the reader does not know, or has values that
      `weights` does not hold.
    """
    arrays = _kept_as(weights, flat(model.variables))
    meta = CheckpointMeta(
        model.config.to_dict(), model.class_names, category_ids=model.category_ids
    )
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as temporary:
        folder = Path(temporary)
        write_safetensors(folder / _WEIGHTS, arrays, {})
        (folder / _MODEL).write_text(json.dumps(meta_content(meta)))
        programs = _write_programs(folder, model, arrays, canvases, platforms)
        names = [_MODEL, _WEIGHTS, *(program["file"] for program in programs)]
        manifest = manifest_of(model, programs) | {
            "weights": weights,
            "sha256": {name: sha256(folder / name) for name in names},
        }
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2))
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (_MANIFEST, *names):
                # Weights are noise to a compressor.
                stored = zipfile.ZIP_STORED if name == _WEIGHTS else zipfile.ZIP_DEFLATED
                archive.write(folder / name, name, compress_type=stored)
    return manifest


def _kept_as(weights: str, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    arrays = {path: np.asarray(array) for path, array in variables.items()}
    for path, array in arrays.items():
        if array.dtype not in _TYPES:
            raise ValueError(
                f"an export has float32 and int32 arrays alone, but {path} is {array.dtype}; a "
                "part of your own that keeps such arrays cannot be exported."
            )
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):
                arrays[path] = array.astype(WEIGHTS[weights])
            if not np.isfinite(arrays[path].astype(np.float32)).all():
                raise ValueError(
                    f"{path} has values of up to {np.abs(array).max():.3g}, which {weights} does "
                    "not hold; take --weights bfloat16 or float32."
                )
    return arrays


def _write_programs(
    folder: Path,
    model: ExportedModel,
    arrays: Mapping[str, np.ndarray],
    canvases: Sequence[Canvases],
    platforms: Sequence[str],
) -> list[dict[str, Any]]:
    """The programs as files, and what the manifest says of them, in the reader's order."""
    (folder / "programs").mkdir()
    data, found = model.config.data, []
    wanted = [(p, c) for p in platforms for c in canvases_in_order(canvases)]
    for platform, own in watched(wanted, "lowering", unit="program"):
        program = image_program(
            model.task, own, min_size=data.eval_min_size, max_size=data.max_size
        )
        (height, width), (high, wide) = own.network, own.largest
        name = f"programs/{platform}_{height}x{width}_of_{high}x{wide}.jax"
        (folder / name).write_bytes(serialized(program, arrays, own, platform))
        found.append(
            {"platform": platform, "canvas": own.network, "largest": own.largest, "file": name}
        )
    return found


def canvases_in_order(canvases: Iterable[Canvases]) -> list[Canvases]:
    """As a reader looks for the first that holds an image: small originals first, and of those the
    network's canvas that `choose_bucket` takes."""

    def size(own: Canvases) -> tuple[Any, ...]:
        (height, width), (high, wide) = own.network, own.largest
        return high * wide, own.largest, height * width, own.network

    return sorted(canvases, key=size)


def manifest_of(model: ExportedModel, programs: list[dict[str, Any]]) -> dict[str, Any]:
    """What an export says of itself; `programs`: platform, canvas, largest and file of each."""
    data = model.config.data
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "task": model.config.task,
        "name": model.config.name,
        "class_names": list(model.class_names),
        "category_ids": list(model.category_ids),
        "min_size": data.eval_min_size,
        "max_size": data.max_size,
        "programs": programs,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "jax": jax.__version__,
        "runs_with": f"jax {jax.__version__} and releases of up to six months after it (and three "
        "weeks before), by the promise of jax.export; later, make it again with `pointrend_jax "
        "export --checkpoint` of this file",
    }


def read_artefact(file: Path) -> tuple[Variables, CheckpointMeta]:
    """The model of an export, as that of a checkpoint; its programs are not looked at.

    Raises: ValueError as `read_description`.
    """
    meta = read_description(file)
    assert meta is not None, "read_description comes first"
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / _WEIGHTS
        weights.write_bytes(_part(file, _WEIGHTS))
        arrays, _ = read_safetensors(weights)
    wide = {
        path: array.astype(np.float32) if array.dtype == np.float16 else array
        for path, array in arrays.items()
    }
    return {"buffers": {}} | nested(wide), meta


def read_description(file: Path) -> CheckpointMeta | None:
    """What an export says of its model; None for any other file.

    Raises: ValueError if the file is damaged, or of a later version.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if _MANIFEST not in archive.namelist():
                return None
    except zipfile.BadZipFile:
        return None
    try:
        return parse_meta(json.loads(_part(file, _MODEL)))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}: {_MODEL} cannot be read ({error}); get the file again."
        ) from error


def _part(file: Path, name: str) -> bytes:
    """A part as it was written. Raises ValueError if it is not."""
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = json.loads(_bounded(archive, _MANIFEST))
            if manifest["format"] != _FORMAT or manifest["version"] != _VERSION:
                raise ValueError(
                    f"it is a {manifest['format']} of version {manifest['version']}, and version "
                    f"{_VERSION} is read"
                )
            content = _bounded(archive, name)
            if hashlib.sha256(content).hexdigest() != manifest["sha256"][name]:
                raise ValueError(f"{name} has another sha256 than the manifest says")
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no sound export: {error}. Get it or make it again.") from error
    return content


def _bounded(archive: zipfile.ZipFile, name: str) -> bytes:
    """A part's content. Raises ValueError if it unpacks to more than a description may have."""
    part = archive.getinfo(name)
    if part.compress_type != zipfile.ZIP_STORED and part.file_size > _MOST_UNPACKED:
        raise ValueError(f"{name} unpacks to {part.file_size} bytes")
    return archive.read(part)
