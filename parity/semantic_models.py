"""The files of a kit's semantic segmentation model: what they hold, and their rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parity.compare import Row
from parity.kit import (
    KitModel,
    on_canvas,
    production_canvas,
    read_input,
    seeded_pyramid,
)
from parity.semantic_stages import coarse_rows, rendered_rows, result_rows, step_rows
from parity.stages import Golden, Stages, map_rows

# What a file must hold for a stage.
HEADS_NEEDS = {"coarse": ("sem/coarse/sample",), "logits": ("sem/logits/sample",)}
DEEPLAB_NEEDS = {
    "maps": ("map/normalized/sample", "map/res5/sample"),
    "logits": ("sem/logits/sample",),
    "exact": ("out/logits", "out/argmax"),
    "bucket": ("out/logits", "out/argmax", "sem/logits/sample"),
}
POINTREND_NEEDS = (
    DEEPLAB_NEEDS
    | HEADS_NEEDS
    | {
        "maps": ("map/normalized/sample", "map/p6/sample"),
        "steps": ("sem/step1/indices_sorted", "sem/step2/indices_sorted"),
    }
)


def inference_rows(
    kit: Path, model: KitModel, file: str, golden: Golden, chosen: set[str]
) -> Iterator[Row]:
    """Those of an infer_*.npz."""
    source = read_input(kit, model, golden)
    batch = on_canvas([source.pixels], source.padded_hw, source.padded_hw)
    if "maps" in chosen:
        yield from map_rows(model, file, golden, batch)
    stages = Stages(model, file, golden, {}, batch)
    if chosen & {"coarse", "steps", "logits"}:
        stages.pyramid = stages.run(lambda m, b: m.maps(b.images, b.image_hw, b.padded_hw), batch)
    if "coarse" in chosen:
        yield from coarse_rows(stages)
    if "steps" in chosen:
        yield from step_rows(stages)
    if "logits" in chosen:
        yield from rendered_rows(stages)
    if "exact" in chosen:
        yield from result_rows(stages, "from pixels", batch)
    if "bucket" in chosen:
        bucket = production_canvas(model, source)
        batch = on_canvas([source.pixels], bucket, source.padded_hw)
        yield from result_rows(stages, "in a bucket", batch)


def heads_rows(model: KitModel, file: str, golden: Golden, chosen: set[str]) -> Iterator[Row]:
    """Those of a heads.npz."""
    height, width = (int(n) for n in golden["features/hw"])
    batch = on_canvas([np.zeros((height, width, 3), np.uint8)], (height, width), (height, width))
    levels = tuple(model.config.model.semantic.levels)
    pyramid = seeded_pyramid(model.tag, golden, model.config.model.fpn_channels, levels)
    stages = Stages(model, file, golden, pyramid, batch)
    if "coarse" in chosen:
        yield from coarse_rows(stages)
    if "logits" in chosen:
        yield from rendered_rows(stages)
