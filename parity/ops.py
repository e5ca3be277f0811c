"""The operations against Detectron2's numbers, file by file of the kit's `ops/`.

Each function takes the arrays of one file and yields what to compare. The same functions serve the
tests (on the tracked subset) and `make parity` (on a whole kit). What computes is compiled, as in
the models; operation by operation it would be some hundred programs a file.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from parity.compare import Check, Golden
from parity.point_loss import point_loss_file
from parity.semantic_ops import original_resolution, pixel_losses
from pointrend_jax import pointrend
from pointrend_jax.layers.fpn import coarsest_level
from pointrend_jax.layers.resnet import stem_pool
from pointrend_jax.ops import boxes, losses, masks, matching, nms, points, resize, roi_align


def load(path: Path) -> Golden:
    """The arrays of a golden file; numbers of 64 bits have 32, as all that jax is given here."""
    with np.load(path, allow_pickle=False) as file:
        return Golden({name: _narrow(array) for name, array in file.items()})


def _narrow(x: np.ndarray) -> np.ndarray:
    return x.astype(jax.dtypes.canonicalize_dtype(x.dtype)) if x.dtype.kind in "biuf" else x


def nhwc(x: ArrayLike) -> np.ndarray:
    return np.moveaxis(np.asarray(x), 1, -1)


def nchw(x: ArrayLike) -> np.ndarray:
    return np.moveaxis(np.asarray(x), -1, 1)


def point_sample(g: dict) -> Iterator[Check]:
    features, weight = nhwc(g["input"]), jnp.asarray(nhwc(g["out_weight"]))
    coords = jnp.asarray(g["coords"])

    @jax.jit
    def sampled_and_gradient(features: jax.Array) -> tuple[jax.Array, jax.Array]:
        sampled, transposed = jax.vjp(lambda x: points.point_sample(x, coords), features)
        return sampled, transposed(weight)[0]

    sampled, gradient = sampled_and_gradient(features)
    yield Check("value", nchw(sampled), g["out"])
    yield Check("gradient", nchw(gradient), g["grad_input"])
    n, h, w, _ = g["grid_coords"].shape
    grid = jax.jit(points.point_sample)(features, g["grid_coords"].reshape(n, h * w, 2))
    yield Check("grid", nchw(grid).reshape(g["grid_out"].shape), g["grid_out"])
    for name in ("nearest", "nearest_edge"):
        ours = jax.jit(points.point_sample_nearest)(g["labels"][:, 0], g[f"{name}_coords"])
        yield Check(name, np.asarray(ours), g[f"{name}_out"][:, 0], 0.0)


def regular_grid(g: dict) -> Iterator[Check]:
    for side in (7, 28):
        ours = np.broadcast_to(points.regular_grid(side), g[f"side{side}"].shape)
        yield Check(f"side {side}", ours, g[f"side{side}"])


def uncertain_points_on_grid(g: dict) -> Iterator[Check]:
    uncertainty = g["map"][:, 0]
    for name, suffix in (("k", ""), ("k_all", "_all")):
        select = partial(pointrend.select_uncertain_points, num_points=int(g[name]))
        index, coords = jax.jit(select)(uncertainty)
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
    binary = jax.jit(pointrend.binary_uncertainty)
    own = np.asarray(jax.jit(losses.select_class)(logits, g["instance_classes"]))
    yield Check("instance", binary(own), g["instance_out"][:, 0])
    at_points = own.reshape(own.shape[0], -1, 1)
    yield Check("instance points", binary(at_points), g["points_out"][:, 0])
    yield Check("class-agnostic", binary(logits[..., :1]), g["agnostic_out"][:, 0])
    semantic = np.asarray(jax.jit(pointrend.multiclass_uncertainty)(logits))
    yield Check("semantic", semantic, g["semantic_out"][:, 0])
    flat = semantic.reshape(semantic.shape[0], -1)
    yield Check("semantic points", flat, g["semantic_points_out"][:, 0])


def uncertain_points_with_randomness(g: dict) -> Iterator[Check]:
    candidates = pointrend.CandidatePoints(
        jnp.asarray(g["rand_oversampled"]), jnp.asarray(g["rand_uniform"])
    )

    @jax.jit
    def chosen(logits: jax.Array) -> jax.Array:
        coarse = losses.select_class(logits, jnp.asarray(g["classes"]))
        return pointrend.choose_training_points(
            candidates, coarse, pointrend.binary_uncertainty, num_points=int(g["num_points"])
        )

    ours = chosen(nhwc(g["coarse_logits"]))
    # Ties of top-k are broken arbitrarily: compare the points as a set, row by row.
    yield Check("points", _sorted_rows(np.asarray(ours)), _sorted_rows(g["coords"]))


def _sorted_rows(x: np.ndarray) -> np.ndarray:
    return np.stack([rows[np.lexsort(rows.T)] for rows in x])


def point_sample_fine_grained(g: dict) -> Iterator[Check]:
    maps = [nhwc(g["p2"]), nhwc(g["p3"])]
    image_index = np.repeat(np.arange(2, dtype=np.int32), g["boxes_per_image"])
    args = tuple(jnp.asarray(x) for x in (g["boxes"], image_index, g["coords"]))
    weight = jnp.asarray(nhwc(g["out_weight"]))

    @jax.jit
    def features_and_gradients(maps: list) -> tuple[jax.Array, list]:
        features, transposed = jax.vjp(
            lambda maps: pointrend.point_features(maps, *args, strides=(4, 8)), maps
        )
        return features, transposed(weight)[0]

    features, grads = features_and_gradients(maps)
    yield Check("features", nchw(features), g["features"])
    in_image = jax.jit(points.points_in_image)(g["boxes"], g["coords"])
    yield Check("coordinates in the image", np.asarray(in_image), g["coords_wrt_image"])
    yield Check("gradient p2", nchw(grads[0]), g["grad_p2"])
    yield Check("gradient p3", nchw(grads[1]), g["grad_p3"])


def interpolate(g: dict) -> Iterator[Check]:
    x = nhwc(g["input"])
    weight = jnp.asarray(nhwc(g["up2_weight"]))

    @jax.jit
    def doubled_and_gradient(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        doubled, transposed = jax.vjp(resize.upsample_2x, x)
        return doubled, transposed(weight)[0]

    doubled, gradient = doubled_and_gradient(x)
    yield Check("bilinear x2", nchw(doubled), g["up2"])
    yield Check("bilinear x2 gradient", nchw(gradient), g["up2_grad"])
    for name in ("up4", "to_13x7", "to_3x4"):
        ours = jax.jit(partial(resize.resize_bilinear, output_hw=g[name].shape[2:]))(x)
        yield Check(f"bilinear {name}", nchw(ours), g[name])
    yield Check("p6 from p5", nchw(jax.jit(coarsest_level)(x)), g["p6_from_p5"])
    yield Check("stem max-pool", nchw(jax.jit(stem_pool)(x)), g["stem_pool"])
    yield Check("nearest x2", nchw(jax.jit(resize.upsample_nearest_2x)(x)), g["nearest2"])
    yield from original_resolution(g)


def roi_align_file(g: dict) -> Iterator[Check]:
    maps = [nhwc(g["input"])]
    stride = round(1.0 / float(g["spatial_scale"]))
    rois, image_index = jnp.asarray(g["rois"][:, 1:]), jnp.asarray(g["rois"][:, 0], jnp.int32)
    level = jnp.asarray(np.zeros(len(rois), np.int32))

    @partial(jax.jit, static_argnums=(1, 2, 3))
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
    gradient_of = jax.jit(jax.grad(lambda maps: jnp.sum(pool(maps, 7, 0, True) * weight)))
    (gradient,) = gradient_of(maps)
    yield Check("gradient, ratio 0", nchw(gradient), g["grad_sr0_aligned"])


def roi_pooler(g: dict) -> Iterator[Check]:
    levels = jax.jit(boxes.assign_levels)
    yield Check("levels", np.asarray(levels(g["level_boxes"])) - 2, g["levels"])
    all_boxes = np.concatenate([g["boxes0"], g["boxes1"]])
    image_index = np.repeat(np.arange(2, dtype=np.int32), [len(g["boxes0"]), len(g["boxes1"])])
    yield Check("levels of boxes", np.asarray(levels(all_boxes)) - 2, g["box_levels"])
    pool = partial(roi_align.roi_align, strides=(4, 8, 16, 32), output_size=7)
    pooled = jax.jit(pool)([nhwc(g[f"p{i}"]) for i in range(2, 6)], all_boxes, image_index)
    yield Check("pooled", nchw(pooled), g["out"])


def anchors(g: dict) -> Iterator[Check]:
    for level, size in enumerate((32, 64, 128, 256, 512)):
        cells = boxes.cell_anchors(size, (0.5, 1.0, 2.0))
        yield Check(f"cell p{level + 2}", cells, g[f"cell{level}"])
        height, width = (int(n) for n in g["grid_hw"][level])
        grid = boxes.AnchorGrid((height, width), 4 << level, size, (0.5, 1.0, 2.0))
        anchors = jax.jit(grid.anchors)(np.arange(grid.number))
        yield Check(f"grid p{level + 2}", anchors, g[f"grid{level}"])


def box_transform(g: dict) -> Iterator[Check]:
    src, dst = g["src"], g["dst"]
    for name, weights in (("box", (10.0, 10.0, 5.0, 5.0)), ("rpn", (1.0, 1.0, 1.0, 1.0))):
        ours = jax.jit(partial(boxes.encode_boxes, weights=weights))(src, dst)
        yield Check(f"encode {name}", np.asarray(ours), g[f"get_{name}"])
        deltas = g["deltas"].reshape(20, 3, 4)
        decode = jax.jit(partial(boxes.decode_boxes, weights=weights))
        decoded = np.asarray(decode(np.broadcast_to(src[:, None], deltas.shape), deltas))
        yield Check(f"decode {name}", decoded.reshape(20, 12), g[f"apply_{name}"])
    yield Check("clip", jax.jit(boxes.clip_boxes)(src, g["clip_hw"]), g["clipped"])
    yield Check("nonempty", jax.jit(boxes.nonempty)(g["clipped"]), g["nonempty"])
    yield Check("IoU", jax.jit(boxes.box_iou)(src, dst), g["iou"])


def matcher(g: dict) -> Iterator[Check]:
    everything = np.ones(len(g["anchors"]), bool)
    yield Check("IoU", jax.jit(boxes.box_iou)(g["gt"], g["anchors"]), g["iou"])
    cases = (
        ("rpn", (0.3, 0.7), True, 4),
        ("roi", (0.5, 0.5), False, 4),
        ("empty", (0.3, 0.7), True, 0),
    )
    for name, thresholds, low_quality, num_gt in cases:
        match = partial(matching.match_boxes, thresholds=thresholds, allow_low_quality=low_quality)
        matches = jax.jit(match)(
            g["anchors"], g["gt"], boxes_valid=everything, gt_valid=np.arange(4) < num_gt
        )
        yield Check(f"{name} labels", np.asarray(matches.labels), g[f"{name}_labels"])
        yield Check(f"{name} matches", np.asarray(matches.gt_index), g[f"{name}_matches"])


def batched_nms(g: dict) -> Iterator[Check]:
    for num in (300, 1500):
        order = np.argsort(-g[f"scores{num}"], kind="stable")
        for threshold in (50, 70):
            golden = g[f"keep{num}_iou{threshold}"]
            keep = partial(nms.nms_sorted, iou_threshold=threshold / 100, max_outputs=len(order))
            index, valid = jax.jit(keep)(
                g[f"boxes{num}"][order], g[f"idxs{num}"][order], np.ones(len(order), bool)
            )
            kept = order[np.asarray(index)[np.asarray(valid)]]
            yield Check(f"{num} boxes, IoU 0.{threshold}", kept, golden)


def losses_file(g: dict) -> Iterator[Check]:
    targets = jax.jit(partial(masks.crop_masks, output_size=7))(
        np.packbits(g["mask_gt"], axis=-1, bitorder="little"), np.arange(5, dtype=np.int32),
        g["mask_boxes"], np.tile(np.array([61, 83], np.int32), (5, 1)),
    )  # fmt: skip
    yield Check("mask targets", np.asarray(targets), g["mask_targets"])

    def mask_loss(logits: jax.Array) -> jax.Array:
        own = losses.select_class(logits, jnp.asarray(g["mask_classes"]))[..., 0]
        everything = jnp.ones(own.shape, bool)
        labels = jnp.asarray(g["mask_targets"], jnp.float32)
        term = losses.binary_cross_entropy(own, labels, everything, jnp.asarray(own.size))
        return term.total / term.denominator

    def point_loss(logits: jax.Array) -> jax.Array:
        own = losses.select_class(logits, jnp.asarray(g["mask_classes"]))[..., 0]
        valid = jnp.asarray(g["point_labels"] >= 0)
        labels = jnp.asarray(np.maximum(g["point_labels"], 0))
        term = losses.binary_cross_entropy(own, labels, valid, jnp.asarray(own.size))
        return term.total / term.denominator

    for name, function in (("mask", mask_loss), ("point", point_loss)):
        value, gradient = jax.jit(jax.value_and_grad(function))(nhwc(g[f"{name}_logits"]))
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
