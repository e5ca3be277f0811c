"""What holds of every operation: coordinates keep their bits, and indices do not wrap around."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from pointrend_jax.layers.implicit_mask_head import ImplicitPointHead, PointMLPShape
from pointrend_jax.ops.boxes import box_iou, decode_boxes, encode_boxes
from pointrend_jax.ops.losses import hard_pixel_cross_entropy
from pointrend_jax.ops.masks import crop_masks
from pointrend_jax.ops.points import cell_sampler, point_sample, point_sample_bits
from pointrend_jax.ops.resize import resize_bilinear, resize_within, upsample_2x
from pointrend_jax.ops.roi_align import roi_align
from pointrend_jax.pointrend import select_uncertain_points
from pointrend_jax.structures import DATA_AXIS
from tests.programs import products

BOXES, INDEX, POINTS = jnp.ones((3, 4)), jnp.zeros(3, jnp.int32), jnp.ones((3, 5, 2))
MLP = PointMLPShape(inputs=256 + 4, hidden=8, num_hidden=1, outputs=3)


def _implicit_phase(coords: jax.Array) -> jax.Array:
    head = ImplicitPointHead(MLP)
    variables = {"buffers": {"frequencies": jnp.ones((2, 128))}}
    parameters = jnp.zeros((3, MLP.num_parameters))
    return head.apply(variables, jnp.zeros((3, 5, 4)), coords, parameters, INDEX)  # type: ignore


# Functions of one array, of the type of maps or of coordinates.
OPERATIONS: dict[str, tuple[Callable[[jax.Array], jax.Array], Any]] = {
    "cell_sampler": (
        lambda coords: cell_sampler((7, 7), coords)(jnp.ones((3, 49, 4))), POINTS),
    "cell_sampler of cells": (lambda x: cell_sampler((7, 7), POINTS)(x), jnp.ones((3, 49, 4))),
    "point_sample": (lambda x: point_sample(x, POINTS), jnp.ones((3, 7, 7, 4), jnp.bfloat16)),
    "point_sample_bits": (
        lambda xy: point_sample_bits(jnp.zeros((3, 8, 1), jnp.uint8), INDEX, xy), POINTS),
    "crop_masks": (
        lambda boxes: crop_masks(jnp.zeros((3, 8, 1), jnp.uint8), INDEX, boxes,
        jnp.full((3, 2), 8), output_size=4).astype(jnp.float32), BOXES),
    "roi_align": (
        lambda x: roi_align([x], BOXES, INDEX, strides=[4], output_size=2, levels=INDEX),
        jnp.ones((1, 8, 8, 4), jnp.bfloat16)),
    "resize_bilinear": (
        lambda x: resize_bilinear(x, (9, 10)), jnp.ones((1, 5, 6, 2), jnp.bfloat16)),
    "resize_within": (
        lambda x: resize_within(x, jnp.array([[5, 6]]), jnp.array([[9, 9]]), (9, 10)),
        jnp.ones((1, 5, 6, 2), jnp.bfloat16)),
    "upsample_2x": (lambda x: upsample_2x(x), jnp.ones((1, 5, 6, 2), jnp.bfloat16)),
    "box coding": (lambda b: decode_boxes(b, encode_boxes(b, b)) + box_iou(b, b)[..., :1], BOXES),
}  # fmt: skip


def _program(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> Any:
    """The value and the gradient of an operation, where a device multiplies in bfloat16."""

    def both(x: jax.Array) -> Any:
        value, backward = jax.vjp(function, x)
        return value, backward(value)

    with jax.default_matmul_precision("bfloat16"):
        return jax.make_jaxpr(both)(x)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_products_of_coordinates_keep_every_bit_of_float32(
    name: str, backend: str, trace_for: Callable[[str], None]
) -> None:
    # Some operations take another form there; a program is traced, not run.
    trace_for(backend)
    for product in products(_program(*OPERATIONS[name])):
        assert product.is_exact, product.equation
        assert product.dtypes == {"float32"}, product.equation


def test_the_phase_of_a_point_keeps_every_bit_and_its_features_follow_the_device() -> None:
    exact = {p.equation.invars[0].aval.shape[-1]: p.is_exact  # type: ignore[attr-defined]
             for p in products(jax.make_jaxpr(_implicit_phase)(POINTS))}  # fmt: skip
    assert exact[2]
    assert not all(exact.values())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_coordinates_of_chosen_points_are_float32(dtype: Any) -> None:
    # 301 columns: their centres need more than eight bits.
    uncertainty = jnp.zeros((1, 1, 301), dtype).at[0, 0, 300].set(1.0)
    _, coords = select_uncertain_points(uncertainty, 1)
    assert coords[0, 0, 0] == jnp.float32(300.5 / 301)


def _shape(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def test_bits_of_more_masks_than_an_int32_counts_are_sampled() -> None:
    # 2.5 GB, traced only.
    bits = _shape(300, 4096, 2048, dtype=jnp.uint8)
    sampled = jax.eval_shape(point_sample_bits, bits, _shape(3, dtype=jnp.int32), _shape(3, 5, 2))
    assert sampled.shape == (3, 5)


def _hard_pixels(logits: jax.Array) -> Any:
    labels = jnp.zeros(logits.shape[:-1], jnp.int32)
    return hard_pixel_cross_entropy(logits, labels, labels == 0, fraction=0.2)


@pytest.mark.parametrize(
    ("function", "x", "what"),
    [
        (lambda x: point_sample(x, POINTS), _shape(3, 40000, 40000, 1), "pixels of all maps"),
        (lambda x: roi_align([x], BOXES, INDEX, strides=[4], output_size=2, levels=INDEX),
         _shape(2, 40000, 40000, 1), "cells of all feature maps"),
        (lambda x: select_uncertain_points(x, 9), _shape(1, 50000, 50000), "a rendered map"),
        (jax.vmap(_hard_pixels, axis_name=DATA_AXIS), _shape(3, 1, 40000, 40000, 2), "of a batch"),
    ],
)  # fmt: skip
def test_more_than_an_index_can_tell_apart_is_refused(function: Any, x: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"{what}.* at most 2147483647 .* smaller images or tiles"):
        jax.eval_shape(function, x)
