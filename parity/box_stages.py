"""RPN and box head of a kit's model, each fed the golden output of the stage before it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from parity.compare import Row
from parity.matching import detections_of, matched_rows, proposals_of
from parity.stages import HEAD, Pyramid, Stages
from pointrend_jax.layers.fpn import POOLED_LEVELS, STRIDES
from pointrend_jax.models.mask_rcnn import MaskRCNN
from pointrend_jax.ops import roi_align
from pointrend_jax.structures import Detections, ImageBatch, Proposals


def rpn_rows(stages: Stages) -> Iterator[Row]:
    stages.golden.require("rpn/0/logits")
    outputs = stages.run(
        lambda m, p, hw: m.rpn(p, hw)._replace(grids=None),
        stages.pyramid,
        stages.batch.padded_hw,
    )
    first = 0
    for level in range(len(STRIDES)):
        g = {k: stages.golden[f"rpn/{level}/{k}"] for k in ("num", "stride", "logits", "deltas")}
        level_slice = slice(first, first + int(g["num"]))
        first += int(g["num"])
        name = f"p{level + 2}"
        logits, deltas = outputs.logits[0, level_slice], outputs.deltas[level][0].reshape(-1, 4)
        yield stages.row(f"RPN {name} number of anchors", len(logits), g["num"], 0)
        stride = int(g["stride"])
        yield stages.row(f"RPN {name} logits", logits[::stride], g["logits"], HEAD)
        yield stages.row(f"RPN {name} deltas", deltas[::stride], g["deltas"], HEAD)
        # The kit took torch.std, which divides by n - 1.
        spread = [[np.mean(x), np.std(x, ddof=1)] for x in (logits, deltas)]
        golden_spread = stages.golden[f"rpn/{level}/mean_std"]
        yield stages.row(f"RPN {name} mean and deviation", spread, golden_spread, HEAD)


def proposal_rows(stages: Stages) -> Iterator[Row]:
    stages.golden.require("proposals/boxes", "proposals/logits")
    ours: Proposals = stages.run(lambda m, p, b: m.propose(p, b), stages.pyramid, stages.batch)
    ours = jax.tree.map(lambda x: np.asarray(x)[0][np.asarray(ours.valid)[0]], ours)
    yield from matched_rows(
        stages.file,
        "proposals",
        (ours.boxes, ours.logits, np.zeros(len(ours.boxes))),
        proposals_of(stages.golden, "proposals"),
        score_tolerance=2e-3,
        # Beside the last one taken others of almost its score were left out.
        unmatched=0.005,
    )


def _golden_proposals(stages: Stages) -> Proposals:
    boxes, logits = stages.golden["proposals/boxes"], stages.golden["proposals/logits"]
    return Proposals(boxes[None], logits[None], np.ones((1, len(boxes)), bool))


def box_rows(stages: Stages) -> Iterator[Row]:
    stages.golden.require("box/logits", "box/deltas", "box/pooled")
    rows = stages.golden["box/rows"]
    boxes = _golden_proposals(stages).boxes[:, rows]
    arguments = (stages.pyramid, boxes, stages.batch.padded_hw)
    logits, deltas = stages.run(lambda m, p, b, hw: m.box_head(p, b, hw), *arguments)
    yield stages.row("box logits", logits[0], stages.golden["box/logits"], HEAD)
    flat_deltas = deltas[0].reshape(len(rows), -1)
    yield stages.row("box deltas", flat_deltas, stages.golden["box/deltas"], HEAD)
    features = pooled(stages, boxes[0], stages.kit.config.model.box.pooler_resolution)
    yield stages.row("box pooled", features[:, ::32], stages.golden["box/pooled"], HEAD)


def pooled(stages: Stages, boxes: ArrayLike, side: int) -> np.ndarray:
    """[R, C, side, side], as the kit stores features."""
    pool = partial(
        roi_align.roi_align,
        strides=[STRIDES[level] for level in POOLED_LEVELS],
        output_size=side,
        sampling_ratio=0,
    )
    features = jax.jit(pool)(
        [stages.pyramid[level] for level in POOLED_LEVELS],
        np.asarray(boxes),
        np.zeros(len(np.asarray(boxes)), np.int32),
        padded_hw=stages.batch.padded_hw,
    )
    return np.moveaxis(np.asarray(features), -1, 1)


def detection_rows(stages: Stages, tolerance: float, box_tolerance: float) -> Iterator[Row]:
    stages.golden.require("det/boxes", "det/scores", "det/classes")

    def detect(m: MaskRCNN, pyramid: Pyramid, proposals: Proposals, batch: ImageBatch) -> Any:
        outputs = m.box_head(pyramid, proposals.boxes, batch.padded_hw)
        return m.box_head.detect(outputs, proposals, batch.image_hw)

    found: Detections = stages.run(detect, stages.pyramid, _golden_proposals(stages), stages.batch)
    found = jax.tree.map(lambda x: np.asarray(x)[0][np.asarray(found.valid)[0]], found)
    golden = detections_of(stages.golden, "det")
    ours = (found.boxes, found.scores, found.classes)
    yield from matched_rows(
        stages.file, "detections", ours, golden,
        score_tolerance=tolerance, box_tolerance=box_tolerance, unmatched=0.02,
    )  # fmt: skip
