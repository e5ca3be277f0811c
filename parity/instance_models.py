"""The files of a kit's instance segmentation model: what they hold, and their rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parity.box_stages import box_rows, detection_rows, proposal_rows, rpn_rows
from parity.compare import Row
from parity.kit import (
    KitModel,
    on_canvas,
    production_canvas,
    read_input,
    seeded_pyramid,
)
from parity.mask_stages import mask_rows
from parity.results import pasted_rows, pixel_rows
from parity.stages import Golden, Stages, map_rows

# What a file must hold for a stage.
HEADS_NEEDS = {
    "rpn": ("rpn/0/logits",),
    "proposals": ("proposals/boxes",),
    "box": ("box/rows", "proposals/boxes"),
    "detections": ("det/boxes", "proposals/boxes"),
    "mask": ("mask/which", "det/boxes"),
    "paste": ("out/rle", "det/boxes"),
}
INFERENCE_NEEDS = HEADS_NEEDS | {
    "maps": ("map/normalized/sample", "map/p6/sample"),
    "exact": ("out/rle", "det/boxes"),
    "bucket": ("out/rle", "det/boxes"),
}


def inference_rows(
    kit: Path, model: KitModel, file: str, golden: Golden, chosen: set[str]
) -> Iterator[Row]:
    """Those of an infer_*.npz."""
    source = read_input(kit, model, golden)
    batch = on_canvas([source.pixels], source.padded_hw, source.padded_hw)
    if "maps" in chosen:
        yield from map_rows(model, file, golden, batch)
    stages = Stages(model, file, golden, {}, batch)
    if chosen & HEADS_NEEDS.keys():
        stages.pyramid = stages.run(
            lambda m, b: m.pyramid(b.images, b.image_hw, b.padded_hw), batch
        )
        # Both sides go on from the same pixels; two runs of Detectron2 differ by as much.
        yield from _head_rows(stages, chosen, score=2e-3, box=0.2)
    if "exact" in chosen:
        yield from pixel_rows(stages, "from pixels", batch)
    if "bucket" in chosen:
        bucket = production_canvas(model, source)
        batch = on_canvas([source.pixels], bucket, source.padded_hw)
        yield from pixel_rows(stages, "in a bucket", batch)


def heads_rows(model: KitModel, file: str, golden: Golden, chosen: set[str]) -> Iterator[Row]:
    """Those of a heads.npz."""
    image_hw, padded_hw = ((int(h), int(w)) for h, w in
                           (golden["features/image_hw"], golden["features/hw"]))  # fmt: skip
    batch = on_canvas([np.zeros((*image_hw, 3), np.uint8)], padded_hw, padded_hw)
    pyramid = seeded_pyramid(model.tag, golden, model.config.model.fpn_channels)
    stages = Stages(model, file, golden, pyramid, batch)
    yield from _head_rows(stages, chosen, score=2e-4, box=0.05)


def _head_rows(stages: Stages, chosen: set[str], *, score: float, box: float) -> Iterator[Row]:
    if "rpn" in chosen:
        yield from rpn_rows(stages)
    if "proposals" in chosen:
        yield from proposal_rows(stages)
    if "box" in chosen:
        yield from box_rows(stages)
    if "detections" in chosen:
        yield from detection_rows(stages, score, box)
    if "mask" in chosen:
        yield from mask_rows(stages)
    if "paste" in chosen:
        yield from pasted_rows(stages)
