"""Whole models of a kit: which files there are, and their rows, stage by stage."""

import gc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from parity import instance_models, semantic_models
from parity.compare import Row
from parity.facts import configuration_rows
from parity.kit import INSTANCE_MODELS, MODELS, KitModel, load_golden, load_model
from parity.semantic_train import semantic_train_rows
from parity.stages import Golden
from parity.train import train_rows

# In the order of the networks. Detectors have those up to "paste", label maps "coarse", "steps" and
# "logits"; "exact" and "bucket" are everything at once, from pixels.
STAGES = (
    *("config", "maps", "rpn", "proposals", "box", "detections", "mask", "paste"),
    *("coarse", "steps", "logits", "exact", "bucket", "train"),
)

# Stage to the arrays that a file must hold for it.
Needs = dict[str, tuple[str, ...]]


class Kind(NamedTuple):
    """How models of one kind are compared.

    inference_needs, heads_needs: of infer_*.npz and heads.npz.
    """

    inference_needs: Needs
    heads_needs: Needs
    inference_rows: Callable[[Path, KitModel, str, Golden, set[str]], Iterator[Row]]
    heads_rows: Callable[[KitModel, str, Golden, set[str]], Iterator[Row]]
    train_rows: Callable[[Path, Path], Iterator[Row]]


_INSTANCE = Kind(
    instance_models.INFERENCE_NEEDS,
    instance_models.HEADS_NEEDS,
    instance_models.inference_rows,
    instance_models.heads_rows,
    train_rows,
)
_SEMANTIC_FPN = Kind(
    semantic_models.POINTREND_NEEDS,
    semantic_models.HEADS_NEEDS,
    semantic_models.inference_rows,
    semantic_models.heads_rows,
    semantic_train_rows,
)
_DEEPLAB = _SEMANTIC_FPN._replace(inference_needs=semantic_models.DEEPLAB_NEEDS)


def _kind(name: str) -> Kind:
    if name in INSTANCE_MODELS:
        return _INSTANCE
    return _DEEPLAB if name.startswith("deeplab") else _SEMANTIC_FPN


def model_rows(kit: Path, folder: Path, stage: str) -> Iterator[Row]:
    """All rows of one folder of models/, or those of one stage."""
    kind, model = _kind(folder.name), load_model(folder)
    if stage in ("", "config") and (folder / "facts.json").is_file():
        yield from configuration_rows(model)
    for path in sorted(folder.glob("infer_*.npz")):
        golden = load_golden(path)
        chosen = _chosen(golden, kind.inference_needs, stage)
        if chosen:
            file = f"{model.name}/{path.stem}"
            yield from kind.inference_rows(kit, model, file, golden, chosen)
    if (folder / "heads.npz").is_file():
        golden = load_golden(folder / "heads.npz")
        chosen = _chosen(golden, kind.heads_needs, stage)
        if chosen:
            yield from kind.heads_rows(model, f"{model.name}/heads", golden, chosen)
    del model
    _free_memory()
    if stage in ("", "train") and (folder / "train.npz").is_file():
        yield from kind.train_rows(kit, folder)
        _free_memory()


def left_out(folder: Path) -> list[str]:
    """Why a folder, or a file of it, is not compared; empty if all is."""
    if folder.name not in MODELS:
        return [f"models/{folder.name}: not built yet"]
    known = ("manifest.json", "facts.json", "noise.json", "heads.npz", "train.npz")
    kind, lines = _kind(folder.name), []
    for path in sorted(folder.iterdir()):
        label = f"models/{folder.name}/{path.name}"
        if path.name == "heads.npz" or path.match("infer_*.npz"):
            needs = kind.heads_needs if path.name == "heads.npz" else kind.inference_needs
            with np.load(path, allow_pickle=False) as file:
                absent = [stage for stage in needs if not _holds(file.files, needs[stage])]
            if absent:
                lines.append(f"{label}: holds nothing for {', '.join(absent)}")
        elif path.name not in known:
            lines.append(f"{label}: unknown file")
    return lines


def _chosen(golden: Golden, needs: Needs, stage: str) -> set[str]:
    """The stages to compare of a file: those asked for that it holds."""
    return {s for s in needs if stage in ("", s) and _holds(golden, needs[s])}


def _holds(names: Iterable[str], needed: tuple[str, ...]) -> bool:
    return all(name in names for name in needed)


def _free_memory() -> None:
    """Compiled programs keep buffers; the largest models need the room."""
    jax.clear_caches()
    gc.collect()
