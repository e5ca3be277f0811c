"""Whole models of a kit: which files there are, and their rows, stage by stage."""

import gc
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import numpy as np

from pointrend_jax.data.transforms import choose_bucket
from tests.parity.compare import Row
from tests.parity.facts import configuration_rows
from tests.parity.kit import (
    INSTANCE_MODELS,
    KitModel,
    load_golden,
    load_model,
    on_canvas,
    read_pixels,
    seeded_pyramid,
)
from tests.parity.mask_stages import mask_rows
from tests.parity.results import pasted_rows, pixel_rows
from tests.parity.stages import Stages, map_rows
from tests.parity.train import train_rows

# In the order of the network; "exact" and "bucket" are everything at once, from pixels.
STAGES = (
    *("config", "maps", "rpn", "proposals", "box", "detections", "mask", "paste"),
    *("exact", "bucket", "train"),
)

# What a file must hold for a stage; a kit may hold less, and says so in "left out".
_NEEDS = {
    "maps": ("map/normalized/sample", "map/p6/sample"),
    "rpn": ("rpn/0/logits",),
    "proposals": ("proposals/boxes",),
    "box": ("box/rows", "proposals/boxes"),
    "detections": ("det/boxes", "proposals/boxes"),
    "mask": ("mask/which", "det/boxes"),
    "paste": ("out/rle", "det/boxes"),
    "exact": ("out/rle", "det/boxes"),
    "bucket": ("out/rle", "det/boxes"),
}
_FROM_PIXELS = ("maps", "exact", "bucket")


def model_rows(kit: Path, folder: Path, stage: str) -> Iterator[Row]:
    """All rows of one folder of models/, or those of one stage."""
    model = load_model(folder)
    if stage in ("", "config") and (folder / "facts.json").is_file():
        yield from configuration_rows(model)
    if stage not in ("config", "train"):
        for path in sorted(folder.glob("infer_*.npz")):
            yield from _inference_rows(kit, model, path, stage)
        if (folder / "heads.npz").is_file() and stage not in _FROM_PIXELS:
            yield from _heads_rows(model, folder / "heads.npz", stage)
    del model
    _free_memory()
    if stage in ("", "train") and (folder / "train.npz").is_file():
        yield from train_rows(kit, folder)
        _free_memory()


def left_out(folder: Path) -> list[str]:
    """Why a folder, or a file of it, is not compared; empty if all is."""
    if folder.name not in INSTANCE_MODELS:
        return [f"models/{folder.name}: not built yet"]
    known = ("manifest.json", "facts.json", "noise.json", "heads.npz", "train.npz")
    lines = []
    for path in sorted(folder.iterdir()):
        label = f"models/{folder.name}/{path.name}"
        if path.name == "heads.npz" or path.match("infer_*.npz"):
            stages = [s for s in _NEEDS if path.name != "heads.npz" or s not in _FROM_PIXELS]
            with np.load(path, allow_pickle=False) as file:
                absent = [s for s in stages if not _holds(file.files, s)]
            if absent:
                lines.append(f"{label}: holds nothing for {', '.join(absent)}")
        elif path.name not in known:
            lines.append(f"{label}: unknown file")
    return lines


def _holds(names: Iterable[str], stage: str) -> bool:
    return all(name in names for name in _NEEDS[stage])


def _inference_rows(kit: Path, model: KitModel, path: Path, stage: str) -> Iterator[Row]:
    file, golden = f"{model.name}/{path.stem}", load_golden(path)
    chosen = _chosen(golden, stage)
    hw, padded_hw = ((int(h), int(w)) for h, w in (golden["input/hw"], golden["input/padded_hw"]))
    image_id, crc32 = int(golden["input/image_id"]), int(golden["input/crc32"])
    pixels = read_pixels(kit, image_id, hw, crc32)
    batch = on_canvas([pixels], padded_hw, padded_hw)
    if "maps" in chosen:
        yield from map_rows(model, file, golden, batch)
    stages = Stages(model, file, golden, {}, batch)
    if chosen - set(_FROM_PIXELS):
        stages.pyramid = stages.run(
            lambda m, b: m.pyramid(b.images, b.image_hw, b.padded_hw), batch
        )
        # Both sides go on from the same pixels; two runs of Detectron2 differ by as much.
        yield from _head_rows(stages, chosen, score=2e-3, box=0.2)
    if "exact" in chosen:
        yield from pixel_rows(stages, "from pixels", batch)
    if "bucket" in chosen:
        buckets = tuple((int(h), int(w)) for h, w in model.config.data.buckets)
        bucket = choose_bucket(hw, buckets)
        if bucket is None:
            raise ValueError(f"{path}: its image of {hw} fits no bucket of {model.name}.")
        yield from pixel_rows(stages, "in a bucket", on_canvas([pixels], bucket, padded_hw))


def _heads_rows(model: KitModel, path: Path, stage: str) -> Iterator[Row]:
    golden = load_golden(path)
    image_hw, padded_hw = ((int(h), int(w)) for h, w in
                           (golden["features/image_hw"], golden["features/hw"]))  # fmt: skip
    batch = on_canvas([np.zeros((*image_hw, 3), np.uint8)], padded_hw, padded_hw)
    pyramid = seeded_pyramid(model.tag, golden, model.config.model.fpn_channels)
    stages = Stages(model, f"{model.name}/heads", golden, pyramid, batch)
    yield from _head_rows(stages, _chosen(golden, stage), score=2e-4, box=0.05)


def _chosen(golden: dict[str, np.ndarray], stage: str) -> set[str]:
    """The stages to compare of a file: those asked for that it holds."""
    return {s for s in _NEEDS if stage in ("", s) and _holds(golden, s)}


def _head_rows(stages: Stages, chosen: set[str], *, score: float, box: float) -> Iterator[Row]:
    if "rpn" in chosen:
        yield from stages.rpn()
    if "proposals" in chosen:
        yield from stages.proposals()
    if "box" in chosen:
        yield from stages.box_head()
    if "detections" in chosen:
        yield from stages.detections(score, box)
    if "mask" in chosen:
        yield from mask_rows(stages)
    if "paste" in chosen:
        yield from pasted_rows(stages)


def _free_memory() -> None:
    """Compiled programs keep buffers; the largest models need the room."""
    jax.clear_caches()
    gc.collect()
