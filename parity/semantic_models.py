"""The files of a kit's semantic segmentation model, and what is compared of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parity.compare import Golden, Row
from parity.kit import (
    KitInput,
    KitModel,
    on_canvas,
    production_canvas,
    read_input,
    seeded_pyramid,
)
from parity.semantic_stages import coarse_rows, rendered_rows, result_rows, step_rows
from parity.stages import Parts, Pyramid, Stages, map_rows


def inference_parts(kit: Path, model: KitModel, file: str, golden: Golden) -> Parts:
    """Those of an infer_*.npz. A DeepLab's logits are its coarse ones, and it renders nothing."""
    source = read_input(kit, model, golden)
    batch = on_canvas([source.pixels], source.padded_hw, source.padded_hw)

    def maps(stages: Stages) -> Pyramid:
        return stages.run(lambda m, b: m.maps(b.images, b.image_hw, b.padded_hw), batch)

    stages = Stages(model, file, golden, batch, maps)
    rendering = {"coarse": coarse_rows(stages), "steps": step_rows(stages)}
    return {
        "maps": map_rows(model, file, golden, batch),
        **({} if model.model.point_head is None else rendering),
        "logits": rendered_rows(stages),
        "exact": result_rows(stages, "from pixels", batch),
        "bucket": _bucket_rows(stages, source),
    }


def _bucket_rows(stages: Stages, source: KitInput) -> Iterator[Row]:
    bucket = production_canvas(stages.kit, source)
    batch = on_canvas([source.pixels], bucket, source.padded_hw)
    yield from result_rows(stages, "in a bucket", batch)


def heads_parts(model: KitModel, file: str, golden: Golden) -> Parts:
    """Those of a heads.npz."""
    height, width = (int(n) for n in golden["features/hw"])
    batch = on_canvas([np.zeros((height, width, 3), np.uint8)], (height, width), (height, width))
    levels = tuple(model.config.model.semantic.levels)

    def maps(_: Stages) -> Pyramid:
        return seeded_pyramid(model.tag, golden, model.config.model.fpn_channels, levels)

    stages = Stages(model, file, golden, batch, maps)
    return {"coarse": coarse_rows(stages), "logits": rendered_rows(stages)}
