"""Inference of a kit's model, stage by stage, each fed the golden output of the stage before it.

`infer_*.npz` starts from pixels, `heads.npz` from seeded feature maps. Every function yields rows
of the table. The kit's tolerances are between two runs of Detectron2 with different kernels.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import jax
import numpy as np

from parity.compare import Absent, Golden, Result, Row, part, row
from parity.kit import KitModel
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.pixels import normalise
from pointrend_jax.layers.resnet import DeepStem, Stem
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.models.semantic_segmentor import SemanticSegmentor
from pointrend_jax.structures import ImageBatch

# The results of each stage of a file; what none asks for is never computed.
Parts = dict[str, Iterator[Result]]
Pyramid = dict[str, jax.Array]

MAP = 1e-4  # of the largest value of the map
HEAD = 5e-4  # logits and deltas of RPN and box head


class Stages:
    """The stages of one golden file; the maps are ours, all else is fed from the file.

    make_maps: how they are made, when the first stage asks for them.
    """

    def __init__(
        self,
        kit: KitModel,
        file: str,
        golden: Golden,
        batch: ImageBatch,
        make_maps: Callable[["Stages"], Pyramid],
    ) -> None:
        self.kit, self.file, self.golden = kit, file, golden
        self.batch, self._make_maps = batch, make_maps

    @cached_property
    def pyramid(self) -> Pyramid:
        return self._make_maps(self)

    def run(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """`method(model, *arguments)`, compiled, with the kit's weights; arrays of numpy."""

        def apply(variables: Any, *arguments: Any) -> Any:
            return self.kit.model.apply(variables, *arguments, method=method)

        return jax.device_get(jax.jit(apply)(self.kit.variables, *arguments))

    def row(self, quantity: str, ours: Any, golden: Any, tolerance: float) -> Row:
        return row(self.file, quantity, ours, golden, tolerance)


def map_rows(kit: KitModel, file: str, golden: Golden, batch: ImageBatch) -> Iterator[Result]:
    """Every map from the normalised pixels to res5, or to p6 where there is an FPN."""
    if not any(name.startswith("map/") for name in golden):
        raise Absent("map/*")

    def maps(m: MaskRCNN | SemanticSegmentor, batch: ImageBatch) -> Any:
        pixels = normalise(batch.images, batch.image_hw, m.pixel_mean, m.pixel_std, bgr=m.bgr)
        stages = m.backbone(pixels, batch.padded_hw)
        pyramid = {} if m.fpn is None else m.fpn(stages, batch.padded_hw)
        return {"normalized": pixels} | stages | pyramid

    def apply(variables: Any, batch: ImageBatch) -> Any:
        return kit.model.apply(
            variables, batch, method=maps,
            capture_intermediates=lambda module, _: isinstance(module, (Stem, DeepStem)),
            mutable=["intermediates"],
        )  # fmt: skip

    ours, captured = jax.jit(apply)(kit.variables, batch)
    ours["stem"] = captured["intermediates"]["backbone"]["stem"]["__call__"][0]
    levels = () if kit.model.fpn is None else tuple(STRIDES)
    for name in ("normalized", "stem", *(f"res{i}" for i in range(2, 6)), *levels):
        yield from part(file, f"map {name}", _rows_of_map(file, name, ours[name], golden))


def _rows_of_map(file: str, name: str, ours: Any, golden: Golden) -> Iterator[Row]:
    tolerance = MAP * float(golden[f"map/{name}/mean_std_absmax"][2])
    yield from sampled_rows(file, name, ours, golden, f"map/{name}", tolerance)
    means = np.asarray(ours, np.float64).mean(axis=(0, 1, 2))
    stored = golden[f"map/{name}/channel_mean"]
    yield row(file, f"{name} channel means", means, stored, tolerance)


def sampled_rows(
    file: str, name: str, ours: Any, golden: Golden, group: str, tolerance: float
) -> Iterator[Row]:
    """A whole map [1, H, W, C] against the sample and the statistics that a kit has of it."""
    features = np.moveaxis(np.asarray(ours), -1, 1)
    yield row(file, f"{name} shape", features.shape, golden[f"{group}/shape"], 0)
    s0, s1, s2 = golden[f"{group}/stride"]
    sample = features[:, ::s0, ::s1, ::s2]
    yield row(file, f"{name} sample", sample, golden[f"{group}/sample"], tolerance)
    wide = features.astype(np.float64)
    statistics = (wide.mean(), wide.std(), np.abs(wide).max())
    stored = golden[f"{group}/mean_std_absmax"]
    yield row(file, f"{name} mean, deviation, largest", statistics, stored, tolerance)
