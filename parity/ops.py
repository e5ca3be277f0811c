"""The operations against Detectron2's numbers, file by file of the kit's `ops/`.

Each function takes the arrays of one file and yields what to compare. The same functions serve the
tests (on the tracked subset) and `make parity` (on a whole kit).
"""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from parity.compare import Check, Golden
from parity.point_loss import point_loss_file
from parity.semantic_ops import original_resolution, pixel_losses
from pointrend_jax import pointrend
from pointrend_jax.layers.fpn import coarsest_level
from pointrend_jax.layers.resnet import stem_pool
from pointrend_jax.ops import boxes, losses, masks, matching, nms, points, resize, roi_align


def load(path: Path) -> Golden:
    """The arrays of a golden file: numbers as jax arrays (our functions' input), texts as numpy."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {k: jnp.asarray(v) if v.dtype.kind in "biuf" else v for k, v in file.items()}
    return Golden(arrays)


def nhwc(x: jax.Array) -> jax.Array:
    return jnp.moveaxis(x, 1, -1)


def nchw(x: jax.Array) -> np.ndarray:
    return np.moveaxis(np.asarray(x), -1, 1)


def point_sample(g: dict) -> Iterator[Check]:
    features = nhwc(g["input"])

    def weighted(features: jax.Array) -> jax.Array:
        sampled = points.point_sample(features, g["coords"])
        return jnp.sum(nchw_points(sampled) * g["out_weight"])

    yield Check("value", nchw_points(points.point_sample(features, g["coords"])), g["out"])
    yield Check("gradient", nchw(jax.grad(weighted)(features)), g["grad_input"])
    n, h, w, _ = g["grid_coords"].shape
    grid = points.point_sample(features, g["grid_coords"].reshape(n, h * w, 2))
    yield Check("grid", nchw_points(grid).reshape(g["grid_out"].shape), g["grid_out"])
    for name in ("nearest", "nearest_edge"):
        ours = points.point_sample_nearest(g["labels"][:, 0], g[f"{name}_coords"])
        yield Check(name, np.asarray(ours), g[f"{name}_out"][:, 0], 0.0)


def nchw_points(x: jax.Array) -> jax.Array:
    return jnp.moveaxis(x, -1, 1)


def regular_grid(g: dict) -> Iterator[Check]:
    for side in (7, 28):
        ours = jnp.broadcast_to(points.regular_grid(side), g[f"side{side}"].shape)
        yield Check(f"side {side}", np.asarray(ours), g[f"side{side}"])


def uncertain_points_on_grid(g: dict) -> Iterator[Check]:
    uncertainty = g["map"][:, 0]
    for name, suffix in (("k", ""), ("k_all", "_all")):
        index, coords = pointrend.select_uncertain_points(uncertainty, int(g[name]))
        golden_order = np.argsort(g[f"indices{suffix}"], axis=1)
        order = np.argsort(np.asarray(index), axis=1)
        indices = np.take_along_axis(np.asarray(index), order, axis=1)
        golden = np.take_along_axis(g[f"indices{suffix}"], golden_order, axis=1)
        yield Check(f"set of {name}", indices, golden)
        yield Check(
            f"coordinates of {name}",
            np.take_along_axis(np.asarray(coords), order[..., None], axis=1),
            np.take_along_axis(g[f"coords{suffix}"], golden_order[..., None], axis=1),
        )


def calculate_uncertainty(g: dict) -> Iterator[Check]:
    logits = nhwc(g["instance_logits"])
    own = losses.select_class(logits, g["instance_classes"])
    yield Check("instance", np.asarray(pointrend.binary_uncertainty(own)), g["instance_out"][:, 0])
    at_points = own.reshape(own.shape[0], -1, 1)
    ours = pointrend.binary_uncertainty(at_points)
    yield Check("instance points", np.asarray(ours), g["points_out"][:, 0])
    agnostic = pointrend.binary_uncertainty(logits[..., :1])
    yield Check("class-agnostic", np.asarray(agnostic), g["agnostic_out"][:, 0])
    semantic = pointrend.multiclass_uncertainty(logits)
    yield Check("semantic", np.asarray(semantic), g["semantic_out"][:, 0])
    flat = semantic.reshape(semantic.shape[0], -1)
    yield Check("semantic points", np.asarray(flat), g["semantic_points_out"][:, 0])


def uncertain_points_with_randomness(g: dict) -> Iterator[Check]:
    coarse = losses.select_class(nhwc(g["coarse_logits"]), g["classes"])
    candidates = pointrend.CandidatePoints(g["rand_oversampled"], g["rand_uniform"])
    ours = pointrend.choose_training_points(
        candidates, coarse, pointrend.binary_uncertainty, num_points=int(g["num_points"])
    )
    # Ties of top-k are broken arbitrarily: compare the points as a set, row by row.
    yield Check("points", _sorted_rows(np.asarray(ours)), _sorted_rows(g["coords"]))


def _sorted_rows(x: np.ndarray) -> np.ndarray:
    return np.stack([rows[np.lexsort(rows.T)] for rows in x])


def point_sample_fine_grained(g: dict) -> Iterator[Check]:
    maps = [nhwc(g["p2"]), nhwc(g["p3"])]
    image_index = jnp.repeat(jnp.arange(2), g["boxes_per_image"])
    args = (g["boxes"], image_index, g["coords"])

    def features(maps: list) -> jax.Array:
        return nchw_points(pointrend.point_features(maps, *args, strides=(4, 8)))

    yield Check("features", np.asarray(features(maps)), g["features"])
    in_image = points.points_in_image(g["boxes"], g["coords"])
    yield Check("coordinates in the image", np.asarray(in_image), g["coords_wrt_image"])
    grads = jax.grad(lambda maps: jnp.sum(features(maps) * g["out_weight"]))(maps)
    yield Check("gradient p2", nchw(grads[0]), g["grad_p2"])
    yield Check("gradient p3", nchw(grads[1]), g["grad_p3"])


def interpolate(g: dict) -> Iterator[Check]:
    x = nhwc(g["input"])
    yield Check("bilinear x2", nchw(resize.upsample_2x(x)), g["up2"])
    weight = nhwc(g["up2_weight"])
    gradient = jax.grad(lambda x: jnp.sum(resize.upsample_2x(x) * weight))(x)
    yield Check("bilinear x2 gradient", nchw(gradient), g["up2_grad"])
    for name in ("up4", "to_13x7", "to_3x4"):
        ours = resize.resize_bilinear(x, g[name].shape[2:])
        yield Check(f"bilinear {name}", nchw(ours), g[name])
    yield Check("p6 from p5", nchw(coarsest_level(x)), g["p6_from_p5"])
    yield Check("stem max-pool", nchw(stem_pool(x)), g["stem_pool"])
    yield Check("nearest x2", nchw(resize.upsample_nearest_2x(x)), g["nearest2"])
    yield from original_resolution(g)


def roi_align_file(g: dict) -> Iterator[Check]:
    maps = [nhwc(g["input"])]
    stride = round(1.0 / float(g["spatial_scale"]))
    rois, image_index = g["rois"][:, 1:], g["rois"][:, 0].astype(jnp.int32)
    level = jnp.zeros(len(rois), jnp.int32)

    def pool(maps: list, size: int, ratio: int, aligned: bool) -> jax.Array:
        return roi_align.roi_align(
            maps, rois, image_index, strides=(stride,), output_size=size,
            sampling_ratio=ratio, levels=level, aligned=aligned,
        )  # fmt: skip

    for ratio in (0, 1, 2):
        for aligned, name in ((True, "aligned"), (False, "legacy")):
            golden = g[f"out7_sr{ratio}_{name}"]
            yield Check(f"7x7, ratio {ratio}, {name}", nchw(pool(maps, 7, ratio, aligned)), golden)
    yield Check("14x14, ratio 0", nchw(pool(maps, 14, 0, True)), g["out14_sr0_aligned"])
    weight = nhwc(g["out_weight"])
    (gradient,) = jax.grad(lambda maps: jnp.sum(pool(maps, 7, 0, True) * weight))(maps)
    yield Check("gradient, ratio 0", nchw(gradient), g["grad_sr0_aligned"])


def roi_pooler(g: dict) -> Iterator[Check]:
    yield Check("levels", np.asarray(boxes.assign_levels(g["level_boxes"])) - 2, g["levels"])
    all_boxes = jnp.concatenate([g["boxes0"], g["boxes1"]])
    image_index = jnp.repeat(jnp.arange(2), jnp.array([len(g["boxes0"]), len(g["boxes1"])]))
    yield Check("levels of boxes", np.asarray(boxes.assign_levels(all_boxes)) - 2, g["box_levels"])
    pooled = roi_align.roi_align(
        [nhwc(g[f"p{i}"]) for i in range(2, 6)], all_boxes, image_index,
        strides=(4, 8, 16, 32), output_size=7,
    )  # fmt: skip
    yield Check("pooled", nchw(pooled), g["out"])


def anchors(g: dict) -> Iterator[Check]:
    for level, size in enumerate((32, 64, 128, 256, 512)):
        cells = boxes.cell_anchors(size, (0.5, 1.0, 2.0))
        yield Check(f"cell p{level + 2}", cells, g[f"cell{level}"])
        height, width = (int(n) for n in g["grid_hw"][level])
        grid = boxes.AnchorGrid((height, width), 4 << level, size, (0.5, 1.0, 2.0))
        anchors = np.asarray(grid.anchors(jnp.arange(grid.number)))
        yield Check(f"grid p{level + 2}", anchors, g[f"grid{level}"])


def box_transform(g: dict) -> Iterator[Check]:
    src, dst = g["src"], g["dst"]
    for name, weights in (("box", (10.0, 10.0, 5.0, 5.0)), ("rpn", (1.0, 1.0, 1.0, 1.0))):
        ours = boxes.encode_boxes(src, dst, weights)
        yield Check(f"encode {name}", np.asarray(ours), g[f"get_{name}"])
        deltas = g["deltas"].reshape(20, 3, 4)
        decoded = boxes.decode_boxes(
            jnp.broadcast_to(src[:, None], deltas.shape), deltas, weights
        ).reshape(20, 12)
        yield Check(f"decode {name}", np.asarray(decoded), g[f"apply_{name}"])
    clipped = boxes.clip_boxes(src, g["clip_hw"])
    yield Check("clip", np.asarray(clipped), g["clipped"])
    yield Check("nonempty", np.asarray(boxes.nonempty(g["clipped"])), g["nonempty"])
    yield Check("IoU", np.asarray(boxes.box_iou(src, dst)), g["iou"])


def matcher(g: dict) -> Iterator[Check]:
    everything = jnp.ones(len(g["anchors"]), bool)
    yield Check("IoU", np.asarray(boxes.box_iou(g["gt"], g["anchors"])), g["iou"])
    cases = (
        ("rpn", (0.3, 0.7), True, 4),
        ("roi", (0.5, 0.5), False, 4),
        ("empty", (0.3, 0.7), True, 0),
    )
    for name, thresholds, low_quality, num_gt in cases:
        matches = matching.match_boxes(
            g["anchors"], g["gt"], boxes_valid=everything, gt_valid=jnp.arange(4) < num_gt,
            thresholds=thresholds, allow_low_quality=low_quality,
        )  # fmt: skip
        yield Check(f"{name} labels", np.asarray(matches.labels), g[f"{name}_labels"])
        yield Check(f"{name} matches", np.asarray(matches.gt_index), g[f"{name}_matches"])


def batched_nms(g: dict) -> Iterator[Check]:
    for num in (300, 1500):
        order = jnp.argsort(-g[f"scores{num}"])
        for threshold in (50, 70):
            golden = g[f"keep{num}_iou{threshold}"]
            index, valid = nms.nms_sorted(
                g[f"boxes{num}"][order], g[f"idxs{num}"][order],
                jnp.ones(len(order), bool), iou_threshold=threshold / 100, max_outputs=len(order),
            )  # fmt: skip
            kept = order[index[valid]]
            yield Check(f"{num} boxes, IoU 0.{threshold}", kept, golden)


def losses_file(g: dict) -> Iterator[Check]:
    targets = masks.crop_masks(
        jnp.asarray(np.packbits(np.asarray(g["mask_gt"]), axis=-1, bitorder="little")),
        jnp.arange(5), g["mask_boxes"], jnp.tile(jnp.array([61, 83]), (5, 1)), output_size=7,
    )  # fmt: skip
    yield Check("mask targets", np.asarray(targets), g["mask_targets"])

    def mask_loss(logits: jax.Array) -> jax.Array:
        own = losses.select_class(logits, g["mask_classes"])[..., 0]
        everything = jnp.ones(own.shape, bool)
        labels = jnp.asarray(g["mask_targets"], jnp.float32)
        term = losses.binary_cross_entropy(own, labels, everything, jnp.asarray(own.size))
        return term.total / term.denominator

    def point_loss(logits: jax.Array) -> jax.Array:
        own = losses.select_class(logits, g["mask_classes"])[..., 0]
        valid = g["point_labels"] >= 0
        labels = jnp.maximum(g["point_labels"], 0)
        term = losses.binary_cross_entropy(own, labels, valid, jnp.asarray(own.size))
        return term.total / term.denominator

    for name, function in (("mask", mask_loss), ("point", point_loss)):
        value, gradient = jax.value_and_grad(function)(nhwc(g[f"{name}_logits"]))
        yield Check(f"{name} loss", np.asarray(value), g[f"{name}_loss"])
        yield Check(f"{name} gradient", nchw(gradient), g[f"{name}_grad"])
    yield from pixel_losses(g)


OP_FILES = {
    "anchors": anchors,
    "batched_nms": batched_nms,
    "box_transform": box_transform,
    "calculate_uncertainty": calculate_uncertainty,
    "interpolate": interpolate,
    "losses": losses_file,
    "matcher": matcher,
    "point_loss": point_loss_file,
    "point_sample": point_sample,
    "point_sample_fine_grained": point_sample_fine_grained,
    "regular_grid": regular_grid,
    "roi_align": roi_align_file,
    "roi_pooler": roi_pooler,
    "uncertain_points_on_grid": uncertain_points_on_grid,
    "uncertain_points_with_randomness": uncertain_points_with_randomness,
}
