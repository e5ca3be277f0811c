"""Rendering as ONNX: what the document says that jax2onnx converts, served by onnxruntime."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun

from pointrend_jax.ops.points import point_sample
from pointrend_jax.pointrend import PointMLP, multiclass_uncertainty, point_features, render

jax2onnx = pytest.importorskip("jax2onnx", reason="needs jax2onnx, which the pins exclude")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

# It changes functions of other packages while it converts, and onnxruntime's shapes warn.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_rendering_is_the_same_in_onnxruntime(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    kernels = [jnp.asarray(normal(19, side) / 4) for side in (16, 16, 3)]
    mlp = PointMLP(kernels, [jnp.zeros(side) for side in (16, 16, 3)], 3, True)
    image = jnp.array([[0.0, 0.0, 96.0, 64.0]])

    def rendered(features: jax.Array, coarse_logits: jax.Array) -> jax.Array:
        def predict_points(coords: jax.Array) -> jax.Array:
            fine = point_features([features], image, jnp.zeros(1, jnp.int32), coords, strides=[4])
            return mlp(fine, point_sample(coarse_logits, coords))

        return render(
            coarse_logits, predict_points, multiclass_uncertainty,
            subdivision_steps=2, subdivision_num_points=200,
        )  # fmt: skip

    given = normal(1, 16, 24, 16), normal(1, 16, 24, 3)
    # Traced first: while it converts, functions of other packages are not their own.
    traced = jax.make_jaxpr(rendered)(*given)
    function = jaxpr_as_fun(traced)
    file = tmp_path / "render.onnx"
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in given]
    jax2onnx.to_onnx(lambda *x: function(*x)[0], shapes, return_mode="file", output_path=str(file))
    session = onnxruntime.InferenceSession(str(file))
    named = {own.name: x for own, x in zip(session.get_inputs(), given, strict=True)}
    (theirs,) = session.run(None, named)
    ours = np.asarray(jax.jit(rendered)(*given))
    assert ours.shape == theirs.shape == (1, 64, 96, 3)
    # Rounding may choose another point of two that are equally uncertain.
    assert np.mean(np.abs(ours - theirs) > 1e-4) < 1e-3
