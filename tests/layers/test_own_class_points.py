"""The point head of inference, by algebra, is the point head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.own_class_points import fine_part, own_class_points
from pointrend_jax.layers.regions import Regions
from pointrend_jax.ops.losses import select_class
from pointrend_jax.ops.points import cell_sampler, point_sample, sampling_matrix
from pointrend_jax.pointrend import PointHead, point_features

NUM_CLASSES, NUM_REGIONS, NUM_POINTS = 5, 6, 40


def _regions() -> Regions:
    """Some reach beyond the image, where features are zero; one is empty."""
    corners = jax.random.uniform(jax.random.key(2), (NUM_REGIONS, 2), minval=-20, maxval=40)
    sides = jax.random.uniform(jax.random.key(3), (NUM_REGIONS, 2), minval=3, maxval=60)
    boxes = jnp.concatenate([corners, corners + sides], axis=1).at[-1].set(0.0)
    return Regions(
        boxes=boxes,
        image_index=jnp.array([0, 1, 0, 1, 1, 0]),
        classes=jnp.array([0, 4, 2, 2, 1, 3]),
        gt_index=jnp.zeros(NUM_REGIONS, jnp.int32),
        valid=jnp.ones(NUM_REGIONS, bool),
    )


# Every pair of values once.
@pytest.mark.parametrize(
    ("projected", "coarse_each_layer", "strides", "num_fcs"),
    [
        (True, True, (4, 8), 3),
        (True, False, (4,), 1),
        (False, True, (4,), 1),
        (False, False, (4, 8), 3),
        (True, True, (4,), 3),
        (False, True, (4, 8), 1),
    ],
)
def test_fewer_products_give_the_logits_of_the_plain_head(
    projected, coarse_each_layer, strides, num_fcs
):
    head = PointHead(NUM_CLASSES, 16, num_fcs, coarse_each_layer)
    maps = [
        jax.random.normal(jax.random.key(i), (2, 64 // s, 48 // s, 8))
        for i, s in enumerate(strides)
    ]
    coarse_logits = jax.random.normal(jax.random.key(5), (NUM_REGIONS, 7, 7, NUM_CLASSES))
    points = jax.random.uniform(jax.random.key(6), (NUM_REGIONS, NUM_POINTS, 2))
    # The corners too, where a coarse cell is blended with zeros.
    points = points.at[:, :2].set(jnp.array([[0.0, 0.0], [1.0, 1.0]]))
    regions = _regions()

    @jax.jit
    def inputs(points):
        features = point_features(maps, regions.boxes, regions.image_index, points, strides=strides)
        return features, point_sample(coarse_logits, points)

    features, coarse = inputs(points)
    variables = jax.jit(head.init)(jax.random.key(7), features, coarse)
    # At initialisation biases are zero and the predictor is nearly so, which would hide them.
    variables = jax.tree.map(
        lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), variables
    )
    logits = jax.jit(head.apply)(variables, features, coarse)
    plain = select_class(jnp.asarray(logits), regions.classes)

    num_points = 10_000 if projected else 1
    fine = fine_part(variables["params"], maps, strides=strides, num_points=num_points)
    assert (fine.kernels is None) == projected

    @jax.jit
    def predict(points):
        fine = fine_part(variables["params"], maps, strides=strides, num_points=num_points)
        return own_class_points(head, variables["params"], fine, coarse_logits, regions)(points)

    ours = predict(points)
    assert ours.shape == plain.shape
    # Sums of some 30 float32 terms in another order.
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5 * float(jnp.abs(plain).max()))
    assert float(jnp.std(plain)) > 0.5


def test_bfloat16_maps_are_multiplied_in_float32():
    maps = [jax.random.normal(jax.random.key(0), (1, 16, 12, 8)).astype(jnp.bfloat16)]
    params = {"fc1": {"kernel": jax.random.normal(jax.random.key(1), (8 + 3, 16))}}
    fine = fine_part(params, maps, strides=(4,), num_points=10_000)
    expected = maps[0].astype(jnp.float32) @ params["fc1"]["kernel"][:8]
    assert fine.maps[0].dtype == jnp.float32
    np.testing.assert_array_equal(fine.maps[0], expected)


@pytest.mark.parametrize("backend", ["cpu", "tpu"])
def test_cells_are_sampled_alike_on_every_device(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = jax.random.normal(jax.random.key(0), (3, 7, 5, 4))
    points = jax.random.uniform(jax.random.key(1), (3, 50, 2), minval=-0.3, maxval=1.3)
    matrix = sampling_matrix((7, 5), points)
    expected, backward = jax.vjp(lambda maps: matrix @ maps.reshape(3, 35, 4), maps)
    cotangent = jax.random.normal(jax.random.key(2), expected.shape)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)

    def sampled(maps: jax.Array) -> jax.Array:
        return cell_sampler((7, 5), points)(maps.reshape(3, 35, 4))

    for function in (sampled, lambda maps: point_sample(maps, points)):
        ours, our_backward = jax.vjp(function, maps)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(our_backward(cotangent)[0], backward(cotangent)[0], atol=1e-5)
