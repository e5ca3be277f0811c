"""Whole models of a kit: which files there are, and their rows, stage by stage."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from parity import instance_models, semantic_models
from parity.compare import Golden, LeftOut, Result, part
from parity.facts import configuration_rows
from parity.kit import INSTANCE_MODELS, MODELS, KitModel, load_golden, load_model
from parity.semantic_train import semantic_train_rows
from parity.stages import Parts
from parity.train import train_rows

# In the order of the networks. Detectors have those up to "paste", label maps "coarse", "steps" and
# "logits"; "exact" and "bucket" are everything at once, from pixels.
STAGES = (
    *("config", "maps", "rpn", "proposals", "box", "detections", "mask", "paste"),
    *("coarse", "steps", "logits", "exact", "bucket", "train"),
)
_KNOWN_FILES = ("manifest.json", "facts.json", "noise.json", "heads.npz", "train.npz")


class Kind(NamedTuple):
    """How models of one kind are compared."""

    inference_parts: Callable[[Path, KitModel, str, Golden], Parts]
    heads_parts: Callable[[KitModel, str, Golden], Parts]
    train_rows: Callable[[Path, Path], Iterator[Result]]


_INSTANCE = Kind(instance_models.inference_parts, instance_models.heads_parts, train_rows)
_SEMANTIC = Kind(semantic_models.inference_parts, semantic_models.heads_parts, semantic_train_rows)


def model_results(kit: Path, folder: Path, stage: str) -> Iterator[Result]:
    """All results of one folder of models/, or those of one stage, as they are made."""
    if folder.name not in MODELS:
        yield LeftOut(f"models/{folder.name}", "not built yet")
        return
    for path in sorted(folder.iterdir()):
        if path.name not in _KNOWN_FILES and not path.match("infer_*.npz"):
            yield LeftOut(f"models/{folder.name}/{path.name}", "unknown file")
    kind = _INSTANCE if folder.name in INSTANCE_MODELS else _SEMANTIC
    yield from part(folder.name, "inference", _without_training(kit, folder, kind, stage))
    _free_memory()
    if stage in ("", "train") and (folder / "train.npz").is_file():
        yield from part(f"{folder.name}/train", "train", kind.train_rows(kit, folder))
        _free_memory()


def _without_training(kit: Path, folder: Path, kind: Kind, stage: str) -> Iterator[Result]:
    facts, heads = folder / "facts.json", folder / "heads.npz"
    inference = sorted(folder.glob("infer_*.npz"))
    if stage == "train" or not (inference or facts.is_file() or heads.is_file()):
        return
    model = load_model(folder)
    if stage in ("", "config") and facts.is_file():
        yield from part(f"{model.name}/facts", "config", configuration_rows(model))
    for path in inference:
        file = f"{model.name}/{path.stem}"
        parts = _parts(lambda file=file, path=path: kind.inference_parts(
            kit, model, file, load_golden(path)), file, stage)  # fmt: skip
        yield from part(file, "inputs", parts)
    if heads.is_file():
        file = f"{model.name}/heads"
        parts = _parts(lambda: kind.heads_parts(model, file, load_golden(heads)), file, stage)
        yield from part(file, "inputs", parts)


def _parts(make: Callable[[], Parts], file: str, stage: str) -> Iterator[Result]:
    """The results of a file's stages, or of the one that was asked for."""
    for name, results in make().items():
        if stage in ("", name):
            yield from part(file, name, results)


def _free_memory() -> None:
    """Compiled programs keep buffers; the largest models need the room."""
    jax.clear_caches()
    gc.collect()
