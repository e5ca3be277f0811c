"""Detections and masks in the original image: pasted, and everything at once from pixels."""

from collections.abc import Iterator

import numpy as np

from parity.compare import Golden, Row, row
from parity.kit import regions_at
from parity.matching import detections_of, match, matched_rows
from parity.stages import Stages
from pointrend_jax.masks.paste import changes_of_mask, probability, scale_boxes_to_original
from pointrend_jax.masks.runs import decode_rle, draw_changes
from pointrend_jax.structures import ImageBatch


def pasted_rows(stages: Stages) -> Iterator[Row]:
    """Golden detections with our masks, pasted."""
    stages.golden.require("out/hw", "out/rle", "det/scores")
    regions = regions_at(stages.golden["det/boxes"], stages.golden["det/classes"])
    masks = stages.run(
        lambda m, p, r, hw: (
            m.mask_head.predict(
                m.mask_head.prepare(p, r.boxes.shape[0]), m.mask_head.encode_regions(p, r), r, hw
            ).rendered
        ),
        stages.pyramid,
        regions,
        stages.batch.padded_hw,
    )
    golden = stages.golden
    detected = detections_of(golden, "det")
    yield from result_rows(stages.file, "pasted", detected, np.asarray(masks), golden, stages.batch)


def pixel_rows(stages: Stages, name: str, batch: ImageBatch) -> Iterator[Row]:
    """Everything at once, as a user calls it."""
    stages.golden.require("out/hw", "out/rle", "det/boxes", "det/scores", "det/classes")
    detections, masks, _ = stages.run(lambda m, b: m.predict(b), batch)
    valid = np.asarray(detections.valid)[0]
    boxes, scores, classes = (np.asarray(x)[0][valid] for x in detections[:3])
    detected = boxes, scores, classes
    golden = detections_of(stages.golden, "det")
    yield from matched_rows(
        stages.file, f"{name}: detections", detected, golden,
        score_tolerance=2e-3, unmatched=0.02,
    )  # fmt: skip
    masks = np.asarray(masks)[0][valid]
    yield from result_rows(stages.file, name, detected, masks, stages.golden, stages.batch)


def result_rows(
    file: str,
    name: str,
    detected: tuple[np.ndarray, np.ndarray, np.ndarray],
    mask_logits: np.ndarray,
    golden: Golden,
    batch: ImageBatch,
) -> Iterator[Row]:
    """Boxes and masks in the original image; masks may differ by 10 pixels or 0.2 % of the box."""
    out_hw, image_hw = golden["out/hw"].tolist(), np.asarray(batch.image_hw)[0].tolist()
    boxes, kept = scale_boxes_to_original(detected[0], tuple(image_hw), tuple(out_hw))
    ours = boxes, detected[1][kept], detected[2][kept]
    theirs = detections_of(golden, "out")
    yield from matched_rows(
        file, f"{name}: instances", ours, theirs, score_tolerance=2e-3, unmatched=0.02
    )
    pairs = match(ours, theirs)
    pasted = zip(probability(mask_logits[kept]), boxes, strict=True)
    changes = [changes_of_mask(probs, box, tuple(out_hw)) for probs, box in pasted]
    apart = 0
    for i, j in pairs:
        expected = decode_rle({"size": out_hw, "counts": str(golden["out/rle"][j])})
        if expected.sum() != golden["out/areas"][j]:
            raise ValueError(f"{file}: out/rle and out/areas of instance {j} do not agree.")
        width, height = theirs[0][j][2:] - theirs[0][j][:2]
        different = int((draw_changes(changes[i], tuple(out_hw)) != expected).sum())
        apart += different > max(10, 0.002 * width * height)
    yield row(file, f"{name}: masks apart", apart, 0, np.floor(0.05 * len(pairs)))
