"""Breaks the code in one place at a time and asks whether the tests notice.

    PYTHONPATH=. python benchmarks/seeded_faults.py [--only NAME ...] [--list]

Each fault is one line of one room changed as a tired colleague might change it: a sign, a place
off by one, a wrong axis, a leak of padding, a lost class, a swapped key. The tree is copied, the
fault is put into the copy, and the tests that should find it are run there until the first fails.
A fault that no test notices is printed as MISSED, and the exit status is 1. The tests named here
are the ones that are known to find a fault; that the whole suite contains them is what pytest's
collection says, because a name that collects nothing counts as MISSED too.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

_SOURCES = Path(__file__).resolve().parents[1]
# pytest: some tests failed. Other numbers say that nothing was collected, or pytest was stopped.
_TESTS_FAILED = 1


class Fault(NamedTuple):
    """A line of a file and what it becomes.

    Attributes:
      old: text that the file has exactly once.
      tests: files or names below tests/, of which at least one must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "resize-in-another-order", "ops/pillow_resize.py",
        "rows_first = (lost[0] > 0) & (lost[0] > 2 * lost[1])",
        "rows_first = (lost[0] > 0) & (lost[0] > lost[1])",
        ("ops/test_pillow_resize.py",),
    ),
    Fault(
        "gate-open", "export/gate.py",
        "if not value <= LIMITS[kind]:",
        "if value < 0:",
        ("export/test_gate.py",),
    ),
    Fault(
        "labels-for-onnx-of-the-worst-class", "ops/resize.py",
        "partial(jnp.argmax, axis=-1))",
        "partial(jnp.argmin, axis=-1))",
        ("ops/test_resize.py",),
    ),
    Fault(
        "gate-of-some-programs", "export/covering.py",
        "            if own in taken:",
        "            if taken:",
        ("export/test_covering.py",),
    ),
    Fault(
        "export-looks-at-large-canvases-first", "export/artefact.py",
        "return high * wide, own.largest, height * width, own.network",
        "return high * wide, own.largest, -height * width, own.network",
        ("export/test_reader.py",),
    ),
    Fault(
        "points-rows-for-columns", "pointrend.py",
        "x = (column.astype(jnp.float32) + 0.5) / width",
        "x = (row.astype(jnp.float32) + 0.5) / width",
        ("test_pointrend.py",),
    ),
    Fault(
        "points-certain-first", "pointrend.py",
        "_, index = top_k(uncertainty_fn(candidate_logits), num_uncertain)",
        "_, index = top_k(-uncertainty_fn(candidate_logits), num_uncertain)",
        ("test_pointrend.py",),
    ),
    Fault(
        "counted-ties-before-larger-ones", "ops/top_k.py",
        "[_packed(lanes > kth), _packed(lanes == kth)]",
        "[_packed(lanes >= kth), _packed(lanes == kth)]",
        ("ops/test_top_k.py",),
    ),
    Fault(
        "point-head-forgets-coarse", "pointrend.py",
        "            if layer < len(coarse):",
        "            if 0 < layer < len(coarse):",
        ("test_pointrend.py", "layers/test_mask_head.py"),
    ),
    Fault(
        "built-in-part-replaced", "registry.py",
        "if name in (*self._built_in, *self._besides):",
        "if name in self._besides:",
        ("test_registry.py",),
    ),
    Fault(
        "any-overlap-is-a-match", "evaluation/matches.py",
        "if best is not None and row[best] >= LEAST_OVERLAP:",
        "if best is not None:",
        ("evaluation/test_matches.py",),
    ),
    Fault(
        "report-best-for-worst", "report/tables.py",
        "known.sort(key=lambda row: -(row[1][by].value or 0.0))",
        "known.sort(key=lambda row: row[1][by].value or 0.0)",
        ("report/test_page.py",),
    ),
    Fault(
        "invalid-points-cost", "ops/losses.py",
        "return LossTerm(jnp.sum(jnp.where(valid, losses, 0.0)), jnp.sum(valid))",
        "return LossTerm(jnp.sum(losses), jnp.sum(valid))",
        ("ops/test_losses.py",),
    ),
    Fault(
        "windows-in-place-of-regions", "layers/regions.py",
        "return predict_points(jnp.clip(points_in_image(windows, point_coords), 0.0, 1.0))",
        "return predict_points(jnp.clip(point_coords, 0.0, 1.0))",
        ("layers/test_render_regions.py",),
    ),
    Fault(
        "windows-shown-outside-the-box", "predict/scene.py",
        "    probs[~_inside_box(whole, box, probs.shape)] = 0.0\n",
        "",
        ("predict/test_scene.py",),
    ),
    Fault(
        "page-of-any-host", "explore/server.py",
        'if headers.get("host", "") not in hosts:',
        'if "host" not in headers:',
        ("explore/test_server.py",),
    ),
    Fault(
        "page-reads-more-photos-than-may-wait", "explore/server.py",
        "        with self._worker.place() as place:\n            data = await _body(request)\n",
        "        data = await _body(request)\n        with self._worker.place() as place:\n",
        ("explore/test_server.py",),
    ),
    Fault(
        "page-saves-other-colours", "explore/shown.py",
        'colors=[item["color"] for item in objects],',
        "colors=None,",
        ("explore/test_shown.py",),
    ),
    Fault(
        "page-works-for-who-has-left", "explore/worker.py",
        "            future.cancel()\n",
        "            pass\n",
        ("explore/test_server.py", "explore/test_worker.py"),
    ),
    Fault(
        "boxes-unclamped", "ops/boxes.py",
        "jnp.exp(jnp.minimum(deltas[..., 2:], SCALE_CLAMP))",
        "jnp.exp(deltas[..., 2:])",
        ("ops/test_boxes.py", "parity/test_ops.py"),
    ),
    Fault(
        "nms-not-strict", "ops/nms.py",
        "(iou_of_sides(a, b) > iou_threshold)",
        "(iou_of_sides(a, b) >= iou_threshold)",
        ("ops/test_nms.py",),
    ),
    Fault(
        "nms-undecided-boxes-kept", "ops/nms.py",
        "return free & (clear != 0) & (place < decided[:, None]),",
        "return free & (clear != 0),",
        ("ops/test_nms.py",),
    ),
    Fault(
        "exact-sums-overflow", "ops/scatter.py",
        "number_bits = _BITS - count_bits",
        "number_bits = _BITS - count_bits // 2",
        ("ops/test_scatter.py",),
    ),
    Fault(
        "gradients-of-points-in-any-order", "ops/points.py",
        "exact = forms().adds_exactly",
        "exact = False",
        ("ops/test_scatter.py", "models/test_accelerator_programs.py"),
    ),
    Fault(
        "sampling-half-pixel", "ops/points.py",
        "jnp.maximum(1.0 - jnp.abs(place * size - 0.5 - cells), 0.0)",
        "jnp.maximum(1.0 - jnp.abs(place * size - cells), 0.0)",
        ("layers/test_mask_head.py",),
    ),
    Fault(
        "roi-align-legacy-shift", "ops/roi_samples.py",
        "boxes = boxes - 0.5 if aligned else boxes",
        "boxes = boxes if aligned else boxes",
        ("ops/test_roi_align.py", "parity/test_ops.py"),
    ),
    Fault(
        "roi-windows-one-cell-short", "ops/roi_samples.py",
        "jnp.minimum(high, axis.edge - 1) - low + 1",
        "jnp.minimum(high, axis.edge - 1) - low",
        ("ops/test_roi_forms.py",),
    ),
    Fault(
        "roi-tiles-one-short", "ops/roi_tiles.py",
        "(x + width - 1) // SIDE - x // SIDE + 1",
        "(x + width - 2) // SIDE - x // SIDE + 1",
        ("ops/test_roi_forms.py",),
    ),
    Fault(
        "roi-tiles-too-few-rows", "ops/roi_tiles.py",
        "-(-height // SIDE), across)", "height // SIDE, across)",
        ("ops/test_roi_forms.py",),
    ),
    Fault(
        "patches-of-the-next-row", "ops/scatter.py",
        "jnp.where(is_own & inside,", "jnp.where(is_own,",
        ("ops/test_scatter.py",),
    ),
    Fault(
        "roi-windows-of-a-left-over-box", "ops/roi_windows.py",
        "lines=jnp.where(place < number[roi], lines, 0)",
        "lines=jnp.where(place < taken[roi], lines, 0)",
        ("ops/test_roi_forms.py",),
    ),
    Fault(
        "matching-low-quality-lost", "ops/matching.py",
        "labels = jnp.where(is_best, 1, labels)",
        "labels = jnp.where(is_best & (best >= low), 1, labels)",
        ("ops/test_matching.py",),
    ),
    Fault(
        "hard-pixels-off-by-a-bit", "ops/losses.py",
        "candidate = last | (1 << (30 - i))",
        "candidate = last | (1 << (29 - jnp.minimum(i, 29)))",
        ("ops/test_losses.py",),
    ),
    Fault(
        "upsampling-quarter-swapped", "ops/resize.py",
        "blended = [0.75 * nearest + 0.25 * before, 0.75 * nearest + 0.25 * after]",
        "blended = [0.75 * nearest + 0.25 * after, 0.75 * nearest + 0.25 * before]",
        ("ops/test_resize.py",),
    ),
    Fault(
        "padding-leaks-a-cell", "layers/padding.py",
        "    rows = jnp.arange(height)[None, :] < cells[:, :1]",
        "    rows = jnp.arange(height)[None, :] <= cells[:, :1]",
        ("layers/test_padding.py", "models"),
    ),
    Fault(
        "batch-norm-biased-variance", "layers/norm.py",
        "unbiased = batch_var * (count / jnp.maximum(count - 1, 1))",
        "unbiased = batch_var",
        ("layers/test_norm.py",),
    ),
    Fault(
        "fpn-odd-cells", "layers/fpn.py",
        "return p5[:, ::2, ::2]",
        "return p5[:, 1::2, ::2]",
        ("parity", "models"),
    ),
    Fault(
        "box-head-background-as-class", "layers/box_head.py",
        "classes=jnp.where(foreground, gt_classes[gt_index], self.num_classes),",
        "classes=jnp.where(foreground, gt_classes[gt_index], self.num_classes - 1),",
        ("models/test_mask_rcnn.py",),
    ),
    Fault(
        "group-norm-whole-canvas", "layers/norm.py",
        "sums = jnp.sum(jnp.where(inside, values, 0.0), (1, 2))",
        "sums = jnp.sum(values, (1, 2))",
        ("layers/test_norm.py",),
    ),
    Fault(
        "flip-one-pixel-off", "data/batches/transforms.py",
        "points[:, 0] = new_hw[1] - points[:, 0]",
        "points[:, 0] = new_hw[1] - 1 - points[:, 0]",
        ("data/batches/test_transforms.py",),
    ),
    Fault(
        "epoch-drops-leftovers", "data/batches/train_plan.py",
        "return -(-epoch * orientation.number // self.batch_size)",
        "return epoch * (orientation.number // self.batch_size)",
        ("data/batches/test_train_plan.py",),
    ),
    Fault(
        "tall-images-share-wide-batches", "data/batches/train_plan.py",
        "known = buckets_by_orientation(augmentation.buckets)",
        "known = (augmentation.buckets,)",
        ("data/batches/test_train_plan.py",),
    ),
    Fault(
        "repeat-factor-without-root", "data/batches/repeat_factors.py",
        "math.sqrt(threshold * len(image_labels) / count)",
        "threshold * len(image_labels) / count",
        ("data/batches/test_repeat_factors.py",),
    ),
    Fault(
        "crowds-train", "data/batches/objects.py",
        'kept = np.flatnonzero(~np.asarray(objects["is_crowd"], bool))',
        'kept = np.flatnonzero(np.asarray(objects["is_crowd"], bool) >= 0)',
        ("data/batches/test_objects.py", "data/records/test_objects.py"),
    ),
    Fault(
        "void-becomes-a-class", "data/sources/camvid.py",
        "{i: i for i in names} | {void: IGNORE_LABEL}",
        "{i: i for i in names} | {void: 0}",
        ("data/sources/test_camvid.py",),
    ),
    Fault(
        "paste-half-excluded", "masks/paste.py",
        "np.greater_equal(plan.columns(part), _THRESHOLD, out=bits[part, rows])",
        "np.greater(plan.columns(part), _THRESHOLD, out=bits[part, rows])",
        ("masks/test_paste.py",),
    ),
    Fault(
        "batch-of-one-image", "data/batches/samples.py",
        "pixels[slot, :height, :width] = resize_image(",
        "pixels[0, :height, :width] = resize_image(",
        ("data/batches/test_samples.py",),
    ),
    Fault(
        "results-before-an-error-lost", "workers.py",
        "        yield from _taken(waiting)\n        raise",
        "        raise",
        ("test_workers.py",),
    ),
    Fault(
        "late-bits-row-by-row", "masks/runs.py",
        "return x * height + y",
        "return y * height + x",
        ("tasks/test_instance.py",),
    ),
    Fault(
        "column-before-forgotten", "ops/mask_changes.py",
        "from_column = jnp.pad(last_pixels, ((0, 0), (1, 0), (0, 0)))[:, :-1]",
        "from_column = jnp.zeros_like(last_pixels)",
        ("ops/test_mask_changes.py",),
    ),
    Fault(
        "confusion-transposed", "evaluation/semantic_counts.py",
        "cells = rings[labelled] * num_classes + truth[labelled]\n"
        "    cells = cells * num_classes + predicted[labelled]",
        "cells = rings[labelled] * num_classes + predicted[labelled]\n"
        "    cells = cells * num_classes + truth[labelled]",
        ("evaluation/test_semantic_counts.py", "evaluation/test_semantic.py"),
    ),
    Fault(
        "boundary-of-crowds", "evaluation/boundary.py",
        "return np.where(np.asarray(is_crowd, np.bool_)[None, :], mask_ious, both)",
        "return both",
        ("evaluation/test_boundary.py",),
    ),
    Fault(
        "lvis-not-exhaustive-forgotten", "evaluation/lvis.py",
        'result["dtIgnore"] = result["dtIgnore"] | (result["dtMatches"] == 0)',
        'result["dtIgnore"] = result["dtIgnore"] | (result["dtMatches"] < 0)',
        ("evaluation/test_lvis.py",),
    ),
    Fault(
        "deconvolution-not-turned", "importers/layouts.py",
        "load=lambda theirs, _: theirs.transpose(2, 3, 0, 1)[::-1, ::-1],",
        "load=lambda theirs, _: theirs.transpose(2, 3, 0, 1),",
        ("importers",),
    ),
    Fault(
        "names-swapped", "importers/detectron2.py",
        '"rpn/objectness": "proposal_generator.rpn_head.objectness_logits",\n'
        '    r"rpn/deltas": "proposal_generator.rpn_head.anchor_deltas",',
        '"rpn/deltas": "proposal_generator.rpn_head.objectness_logits",\n'
        '    r"rpn/objectness": "proposal_generator.rpn_head.anchor_deltas",',
        ("importers", "parity/test_models.py"),
    ),
    Fault(
        "converted-in-its-place", "predict/published.py",
        'unfinished = folder.with_name(f"{folder.name}.part")',
        "unfinished = folder",
        ("predict/test_published.py",),
    ),
    Fault(
        "milestone-a-step-late", "training/optimizer.py",
        "(jnp.asarray(step) >= m for m in milestones)",
        "(jnp.asarray(step) > m for m in milestones)",
        ("training/test_step.py", "training/test_optimizer.py"),
    ),
    Fault(
        "norms-decay", "training/optimizer.py",
        "return jax.tree.map(lambda _: False, params)",
        "return jax.tree.map(lambda _: True, params)",
        ("training/test_optimizer.py", "training/test_step.py"),
    ),
    Fault(
        "same-noise-every-step", "training/step.py",
        "step_key = jax.random.fold_in(key, state.step)",
        "step_key = jax.random.fold_in(key, 0)",
        ("training",),
    ),
    Fault(
        "denominators-of-one-device", "training/step.py",
        "denominators = _sum_over_devices(jax.lax.stop_gradient(denominators))",
        "denominators = jax.lax.stop_gradient(denominators)",
        ("training/test_step.py",),
    ),
    Fault(
        "resume-with-another-rate", "training/resume.py",
        '"train.log_every", "train.eval_every", "train.checkpoint_every",',
        '"train.learning_rate", "train.log_every", "train.eval_every", "train.checkpoint_every",',
        ("training", "test_experiment.py"),
    ),
    Fault(
        "wrong-category-ids", "tasks/instance_scorer.py",
        "self._category_ids[prediction.classes], prediction.scores",
        "self._category_ids[prediction.classes - 1], prediction.scores",
        ("tasks",),
    ),
    Fault(
        "evaluation-photos-are-trained-on", "data/sources/embedded.py",
        '_SPLITS = {"train": TRAINING_PHOTOS, "eval": EVALUATION_PHOTOS}',
        '_SPLITS = {"train": TRAINING_PHOTOS, "eval": TRAINING_PHOTOS}',
        ("data/sources/test_embedded.py",),
    ),
    Fault(
        "points-elsewhere-are-explained", "visualize/figure.py",
        "    most = max(range(len(numbers)), key=lambda i: (numbers[i], i))",
        "    most = len(numbers) - 1",
        ("visualize/test_explain.py", "visualize/test_labels.py"),
    ),
    Fault(
        "best-score-below", "visualize/overlay.py",
        "    return sorted(order[::-1].tolist(), key=areas.__getitem__, reverse=True)",
        "    return sorted(order.tolist(), key=areas.__getitem__, reverse=True)",
        ("visualize/test_overlay.py",),
    ),
    Fault(
        "small-objects-below", "visualize/overlay.py",
        "    return sorted(order[::-1].tolist(), key=areas.__getitem__, reverse=True)",
        "    return sorted(order[::-1].tolist(), key=areas.__getitem__)",
        ("visualize/test_overlay.py",),
    ),
    Fault(
        "names-anywhere", "visualize/tags.py",
        "        allowed = (hidden <= _MOST_HIDDEN) & ~_overlap(boxes, self._boxes).any(axis=1)",
        "        allowed = ~_overlap(boxes, self._boxes).any(axis=1)",
        ("visualize/test_tags.py",),
    ),
    Fault(
        "names-on-names", "visualize/tags.py",
        "        allowed = (hidden <= _MOST_HIDDEN) & ~_overlap(boxes, self._boxes).any(axis=1)",
        "        allowed = hidden <= _MOST_HIDDEN",
        ("visualize/test_tags.py",),
    ),
    Fault(
        "a-hole-is-filled", "visualize/vector.py",
        "for r in rings]",
        "for r in rings[:1]]",
        ("visualize/test_vector.py",),
    ),
    Fault(
        "outlines-half-a-pixel-off", "masks/outlines.py",
        "first_centre = np.asarray(at) - before[::-1] - 0.5",
        "first_centre = np.asarray(at) - before[::-1] - 1",
        ("masks/test_outlines.py",),
    ),
    Fault(
        "outlines-open-at-the-border", "masks/outlines.py",
        'mode="edge")',
        'mode="constant")',
        ("masks/test_outlines.py",),
    ),
    Fault(
        "yolo-sides-swapped", "predict/formats.py",
        "size = np.asarray([image_hw[1], image_hw[0]])",
        "size = np.asarray([image_hw[0], image_hw[1]])",
        ("predict/test_formats.py",),
    ),
    Fault(
        "video-blue-for-red", "predict/video.py",
        "cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)",
        "frame",
        ("predict/test_sources.py",),
    ),
    Fault(
        "tile-overlap-to-the-first", "predict/tiles.py",
        "cuts = [(a + b) // 2 for a, b in zip(starts[1:], ends[:-1], strict=True)]",
        "cuts = [b for a, b in zip(starts[1:], ends[:-1], strict=True)]",
        ("predict/test_tiles.py",),
    ),
    Fault(
        "more-channels-more-response", "importers/first_convolution.py",
        "return inflated * kernels.dtype.type(3 / pixels.channels)",
        "return inflated * kernels.dtype.type(1)",
        ("importers/test_first_convolution.py",),
    ),
    Fault(
        "void-where-one-channel-is-missing", "data/rasters.py",
        "np.asarray(missing.all(axis=0))",
        "np.asarray(missing.any(axis=0))",
        ("data/test_rasters.py",),
    ),
    Fault(
        "missing-values-are-measured", "data/channel_statistics.py",
        "where = True if missing is None else there",
        "where = True",
        ("data/test_more_than_rgb.py",),
    ),
    Fault(
        "polygons-with-the-clock", "predict/raster_labels.py",
        "ring if against_clock != is_hole else ring[::-1]",
        "ring if against_clock == is_hole else ring[::-1]",
        ("predict/test_raster_labels.py",),
    ),
    Fault(
        "holes-against-the-clock", "predict/raster_labels.py",
        "is_hole=place > 0)",
        "is_hole=False)",
        ("predict/test_raster_labels.py",),
    ),
    Fault(
        "rpcs-left-behind", "predict/raster_labels.py",
        "if image.rpcs is not None:\n            place",
        "if image.rpcs is None:\n            place",
        ("predict/test_raster_labels.py",),
    ),
    Fault(
        "boxes-scaled-by-the-other-axis", "predict/instances.py",
        "boxes = np.asarray(boxes, np.float32) * scale[[1, 0, 1, 0]]",
        "boxes = np.asarray(boxes, np.float32) * scale[[0, 1, 0, 1]]",
        ("predict/test_instances.py",),
    ),
    Fault(
        "shorter-side-first", "data/batches/transforms.py",
        "(min_size, scale * width) if height < width else",
        "(min_size, scale * width) if height > width else",
        ("data/batches/test_transforms.py",),
    ),
    Fault(
        "coco-ids-repeat-once", "coco_file.py",
        "for i, count in Counter(ids).items() if count > 1)",
        "for i, count in Counter(ids).items() if count > 2)",
        ("data/sources/test_coco.py",),
    ),
    Fault(
        "cityscapes-without-persons", "cityscapes_labels.py",
        "for i, name in EVALUATED.items() if i >= 24}",
        "for i, name in EVALUATED.items() if i > 24}",
        ("data/sources/test_cityscapes.py",),
    ),
    Fault(
        "one-more-than-told", "messages.py",
        "more = len(items) - listed",
        "more = len(items) - listed - 1",
        ("test_messages.py",),
    ),
)  # fmt: skip


def copy_tree(target: Path) -> None:
    """Copies what git knows and what is new, and links the environment and the compile cache."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=_SOURCES, check=True, capture_output=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (_SOURCES / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_SOURCES / name, target / name)
    (_SOURCES / ".cache").mkdir(exist_ok=True)
    (target / ".cache").symlink_to(_SOURCES / ".cache")


def is_noticed(fault: Fault) -> bool:
    """Whether a test fails in a copy with the fault. Raises ValueError if the line has changed."""
    path = Path("pointrend_jax") / fault.file
    content = (_SOURCES / path).read_text()
    if content.count(fault.old) != 1:
        raise ValueError(
            f"{fault.name}: {path} must have the line exactly once, it has it "
            f"{content.count(fault.old)} times; bring the fault up to date:\n{fault.old}"
        )
    with tempfile.TemporaryDirectory(prefix="seeded-fault-") as folder:
        copy = Path(folder)
        copy_tree(copy)
        (copy / path).write_text(content.replace(fault.old, fault.new))
        shared = os.environ.get("POINTREND_JAX_SHARED", str(_SOURCES.parent / "shared"))
        tests = [f"tests/{name}" for name in fault.tests]
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", *tests],
            cwd=copy, env=os.environ | {"POINTREND_JAX_SHARED": shared},
            capture_output=True, text=True,
        )  # fmt: skip
    failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    print(f"    {failed[0][:150] if failed else f'pytest ended with {result.returncode}'}")
    return result.returncode == _TESTS_FAILED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=(), help="names of faults")
    parser.add_argument("--list", action="store_true", help="name the faults and stop")
    args = parser.parse_args()
    chosen = [f for f in FAULTS if not args.only or f.name in args.only]
    if args.list:
        for fault in chosen:
            print(f"{fault.name}: pointrend_jax/{fault.file}")
        return
    missed = []
    for fault in chosen:
        start = time.monotonic()
        noticed = is_noticed(fault)
        missed += [] if noticed else [fault.name]
        verdict = "caught" if noticed else "MISSED"
        print(f"{verdict}  {fault.name}  {time.monotonic() - start:.0f} s", flush=True)
    print(f"{len(chosen)} faults, {len(chosen) - len(missed)} caught, missed: {missed or 'none'}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
