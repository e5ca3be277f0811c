"""Inference of a kit's model, stage by stage, each fed the golden output of the stage before it.

`infer_*.npz` starts from pixels, `heads.npz` from seeded feature maps. Every function yields rows
of the table. The kit's tolerances are between two runs of Detectron2 with different kernels.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pointrend_jax.layers.box_head import POOLED_LEVELS
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.resnet import Stem, normalise
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.ops import roi_align
from pointrend_jax.structures import Detections, ImageBatch, Proposals
from tests.parity.compare import Row, row
from tests.parity.kit import KitModel
from tests.parity.matching import detections_of, matched_rows, proposals_of

Golden = dict[str, np.ndarray]
Pyramid = dict[str, jax.Array]

MAP = 1e-4  # of the largest value of the map
HEAD = 5e-4  # logits and deltas of RPN and box head


class Stages:
    """The stages of one golden file; `pyramid` is ours, all else is fed from the file."""

    def __init__(
        self, kit: KitModel, file: str, golden: Golden, pyramid: Pyramid, batch: ImageBatch
    ) -> None:
        self.kit, self.file, self.golden = kit, file, golden
        self.pyramid, self.batch = pyramid, batch

    def run(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """`method(model, *arguments)`, compiled, with the kit's weights."""

        def apply(variables: Any, *arguments: Any) -> Any:
            return self.kit.model.apply(variables, *arguments, method=method)

        return jax.jit(apply)(self.kit.variables, *arguments)

    def row(self, quantity: str, ours: Any, golden: Any, tolerance: float) -> Row:
        return row(self.file, quantity, ours, golden, tolerance)

    # --- RPN ---

    def rpn(self) -> Iterator[Row]:
        outputs = self.run(
            lambda m, p, hw: m.rpn(p, hw)._replace(anchors=None, level_sizes=None),
            self.pyramid,
            self.batch.padded_hw,
        )
        first = 0
        for level in range(len(STRIDES)):
            g = {k: self.golden[f"rpn/{level}/{k}"] for k in ("num", "stride", "logits", "deltas")}
            level_slice = slice(first, first + int(g["num"]))
            first += int(g["num"])
            name = f"p{level + 2}"
            logits, deltas = outputs.logits[0, level_slice], outputs.deltas[0, level_slice]
            yield self.row(f"RPN {name} number of anchors", len(logits), g["num"], 0)
            stride = int(g["stride"])
            yield self.row(f"RPN {name} logits", logits[::stride], g["logits"], HEAD)
            yield self.row(f"RPN {name} deltas", deltas[::stride], g["deltas"], HEAD)
            # The kit took torch.std, which divides by n - 1.
            spread = [[jnp.mean(x), jnp.std(x, ddof=1)] for x in (logits, deltas)]
            golden_spread = self.golden[f"rpn/{level}/mean_std"]
            yield self.row(f"RPN {name} mean and deviation", spread, golden_spread, HEAD)

    def proposals(self) -> Iterator[Row]:
        ours: Proposals = self.run(lambda m, p, b: m.propose(p, b), self.pyramid, self.batch)
        ours = jax.tree.map(lambda x: np.asarray(x)[0][np.asarray(ours.valid)[0]], ours)
        yield from matched_rows(
            self.file,
            "proposals",
            (ours.boxes, ours.logits, np.zeros(len(ours.boxes))),
            proposals_of(self.golden, "proposals"),
            score_tolerance=2e-3,
            # Beside the last one taken others of almost its score were left out.
            unmatched=0.005,
        )

    # --- box head ---

    def golden_proposals(self) -> Proposals:
        boxes, logits = self.golden["proposals/boxes"], self.golden["proposals/logits"]
        return Proposals(
            jnp.asarray(boxes)[None], jnp.asarray(logits)[None], jnp.ones((1, len(boxes)), bool)
        )

    def box_head(self) -> Iterator[Row]:
        rows = self.golden["box/rows"]
        boxes = self.golden_proposals().boxes[:, rows]
        arguments = (self.pyramid, boxes, self.batch.padded_hw)
        logits, deltas = self.run(lambda m, p, b, hw: m.box_head(p, b, hw), *arguments)
        yield self.row("box logits", logits[0], self.golden["box/logits"], HEAD)
        flat_deltas = deltas[0].reshape(len(rows), -1)
        yield self.row("box deltas", flat_deltas, self.golden["box/deltas"], HEAD)
        pooled = self.roi_align(boxes[0], self.kit.config.model.box.pooler_resolution)
        yield self.row("box pooled", pooled[:, ::32], self.golden["box/pooled"], HEAD)

    def roi_align(self, boxes: jax.Array, side: int) -> np.ndarray:
        """[R, C, side, side], as the kit stores features."""
        pooled = roi_align.roi_align(
            [self.pyramid[level] for level in POOLED_LEVELS],
            boxes,
            jnp.zeros(len(boxes), jnp.int32),
            strides=[STRIDES[level] for level in POOLED_LEVELS],
            output_size=side,
            sampling_ratio=0,
            padded_hw=self.batch.padded_hw,
        )
        return np.moveaxis(np.asarray(pooled), -1, 1)

    def detections(self, tolerance: float, box_tolerance: float) -> Iterator[Row]:
        def detect(m: MaskRCNN, pyramid: Pyramid, proposals: Proposals, batch: ImageBatch) -> Any:
            outputs = m.box_head(pyramid, proposals.boxes, batch.padded_hw)
            return m.box_head.detect(outputs, proposals, batch.image_hw)

        found: Detections = self.run(detect, self.pyramid, self.golden_proposals(), self.batch)
        found = jax.tree.map(lambda x: np.asarray(x)[0][np.asarray(found.valid)[0]], found)
        golden = detections_of(self.golden, "det")
        ours = (found.boxes, found.scores, found.classes)
        yield from matched_rows(
            self.file, "detections", ours, golden,
            score_tolerance=tolerance, box_tolerance=box_tolerance, unmatched=0.02,
        )  # fmt: skip


def map_rows(kit: KitModel, file: str, golden: Golden, batch: ImageBatch) -> Iterator[Row]:
    """Every map from the normalised pixels to p6."""

    def maps(m: MaskRCNN, batch: ImageBatch) -> Any:
        pixels = normalise(batch.images, batch.image_hw, m.pixel_mean, m.pixel_std, bgr=m.bgr)
        stages = m.backbone(pixels, batch.padded_hw)
        return {"normalized": pixels} | stages | m.fpn(stages, batch.padded_hw)

    def apply(variables: Any, batch: ImageBatch) -> Any:
        return kit.model.apply(
            variables, batch, method=maps,
            capture_intermediates=lambda module, _: isinstance(module, Stem),
            mutable=["intermediates"],
        )  # fmt: skip

    ours, captured = jax.jit(apply)(kit.variables, batch)
    ours["stem"] = captured["intermediates"]["backbone"]["stem"]["__call__"][0]
    for name in ("normalized", "stem", *(f"res{i}" for i in range(2, 6)), *STRIDES):
        g = {k: golden[f"map/{name}/{k}"] for k in ("shape", "stride", "sample", "channel_mean")}
        features = np.moveaxis(np.asarray(ours[name]), -1, 1)
        largest = float(golden[f"map/{name}/mean_std_absmax"][2])
        yield row(file, f"{name} shape", features.shape, g["shape"], 0)
        s0, s1, s2 = g["stride"]
        sample = features[:, ::s0, ::s1, ::s2]
        yield row(file, f"{name} sample", sample, g["sample"], MAP * largest)
        wide = features.astype(np.float64)
        statistics = (wide.mean(), wide.std(), np.abs(wide).max())
        stored = golden[f"map/{name}/mean_std_absmax"]
        yield row(file, f"{name} mean, deviation, largest", statistics, stored, MAP * largest)
        means = wide.mean(axis=(0, 2, 3))
        yield row(file, f"{name} channel means", means, g["channel_mean"], MAP * largest)
