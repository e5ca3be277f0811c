"""The files of a kit's instance segmentation model, and what is compared of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parity.box_stages import box_rows, detection_rows, proposal_rows, rpn_rows
from parity.compare import Golden, Row
from parity.kit import (
    KitInput,
    KitModel,
    on_canvas,
    production_canvas,
    read_input,
    seeded_pyramid,
)
from parity.mask_stages import mask_rows
from parity.results import pasted_rows, pixel_rows
from parity.stages import Parts, Pyramid, Stages, map_rows


def inference_parts(kit: Path, model: KitModel, file: str, golden: Golden) -> Parts:
    """Those of an infer_*.npz."""
    source = read_input(kit, model, golden)
    batch = on_canvas([source.pixels], source.padded_hw, source.padded_hw)

    def maps(stages: Stages) -> Pyramid:
        return stages.run(lambda m, b: m.pyramid(b.images, b.image_hw, b.padded_hw), batch)

    stages = Stages(model, file, golden, batch, maps)
    return {
        "maps": map_rows(model, file, golden, batch),
        # Both sides go on from the same pixels; two runs of Detectron2 differ by as much.
        **_parts_of_heads(stages, score=2e-3, box=0.2),
        "exact": pixel_rows(stages, "from pixels", batch),
        "bucket": _bucket_rows(stages, source),
    }


def _bucket_rows(stages: Stages, source: KitInput) -> Iterator[Row]:
    bucket = production_canvas(stages.kit, source)
    batch = on_canvas([source.pixels], bucket, source.padded_hw)
    yield from pixel_rows(stages, "in a bucket", batch)


def heads_parts(model: KitModel, file: str, golden: Golden) -> Parts:
    """Those of a heads.npz."""
    image_hw, padded_hw = ((int(h), int(w)) for h, w in
                           (golden["features/image_hw"], golden["features/hw"]))  # fmt: skip
    batch = on_canvas([np.zeros((*image_hw, 3), np.uint8)], padded_hw, padded_hw)

    def maps(_: Stages) -> Pyramid:
        return seeded_pyramid(model.tag, golden, model.config.model.fpn_channels)

    return _parts_of_heads(Stages(model, file, golden, batch, maps), score=2e-4, box=0.05)


def _parts_of_heads(stages: Stages, *, score: float, box: float) -> Parts:
    return {
        "rpn": rpn_rows(stages),
        "proposals": proposal_rows(stages),
        "box": box_rows(stages),
        "detections": detection_rows(stages, score, box),
        "mask": mask_rows(stages),
        "paste": pasted_rows(stages),
    }
