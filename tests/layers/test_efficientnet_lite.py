"""EfficientNet-Lite: shapes, buckets, and the photos its ImageNet weights must recognise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from skimage import data

from pointrend_jax.importers.weights_file import read_weights_file
from pointrend_jax.layers.efficientnet_lite import EfficientNetLite, block_specs
from tests.lite_weights import lite_file, traced_trunk, trunk_variables

EGYPTIAN_CAT, TIGER_CAT, TABBY, ESPRESSO = 285, 282, 281, 967

# One program for all that is seen on one canvas.
_lite0 = jax.jit(EfficientNetLite(0).apply)


@pytest.fixture(scope="module")
def random_variables() -> dict:
    """Variables of Lite0 with biases far from zero: what leaks from padding must show."""
    rng = np.random.default_rng(0)

    def draw(path: tuple, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            # Fan-in: all axes but the last, which is also right for a depthwise [k, k, 1, C].
            values = rng.normal(size=shape.shape) / np.sqrt(np.prod(shape.shape[:-1]))
        elif name in ("scale", "var"):
            values = rng.uniform(0.5, 1.5, shape.shape)
        else:
            values = rng.normal(size=shape.shape)
        return values.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, traced_trunk(0)[1])


def _on_canvas(images: np.ndarray, height: int, width: int) -> np.ndarray:
    canvas = np.full((2, height, width, 3), 9.0, np.float32)  # what lies there must not matter
    canvas[:, : images.shape[1], : images.shape[2]] = images
    return canvas


@pytest.mark.parametrize(
    ("variant", "channels"),
    [(0, (24, 40, 112, 320)), (1, (24, 40, 112, 320)), (2, (24, 48, 120, 352))],
)
def test_trunk_gives_four_maps_at_their_strides(variant: int, channels: tuple[int, ...]):
    maps, _ = traced_trunk(variant)
    assert {name: maps[name].shape for name in maps} == {
        "res2": (2, 16, 24, channels[0]),
        "res3": (2, 8, 12, channels[1]),
        "res4": (2, 4, 6, channels[2]),
        "res5": (2, 2, 3, channels[3]),
    }


@pytest.mark.parametrize(
    ("variant", "first_of_res3", "first_of_res5", "count"),
    [(0, 3, 11, 16), (1, 4, 15, 21), (2, 4, 15, 21)],
)
def test_freeze_at_freezes_the_blocks_of_the_stages(
    variant: int, first_of_res3: int, first_of_res5: int, count: int
):
    def blocks(stop: int) -> tuple[str, ...]:
        return tuple(f"block{i}" for i in range(stop))

    assert EfficientNetLite(variant, freeze_at=0).frozen_modules() == ()
    assert EfficientNetLite(variant, freeze_at=1).frozen_modules() == ("stem",)
    expected = ("stem", *blocks(first_of_res3))
    assert EfficientNetLite(variant, freeze_at=2).frozen_modules() == expected
    expected = ("stem", *blocks(first_of_res5))
    assert EfficientNetLite(variant, freeze_at=4).frozen_modules() == expected
    expected = ("stem", *blocks(count))
    assert EfficientNetLite(variant, freeze_at=5).frozen_modules() == expected


def test_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="must be 0, 1 or 2, got 3"):
        block_specs(3)


def test_any_bucket_equals_the_exact_shape(random_variables):
    images = np.random.default_rng(1).normal(size=(2, 32, 64, 3)).astype(np.float32)
    padded_hw = jnp.asarray([[32, 64]] * 2)
    exact = _lite0(random_variables, _on_canvas(images, 32, 64), padded_hw)
    larger = _lite0(random_variables, _on_canvas(images, 224, 224), padded_hw)
    for name, stride in (("res2", 4), ("res3", 8), ("res4", 16), ("res5", 32)):
        ours = larger[name][:, : 32 // stride, : 64 // stride]
        # Rounding alone: the convolutions of another shape may sum in another order.
        tolerance = 1e-5 * float(np.abs(exact[name]).max())
        np.testing.assert_allclose(ours, exact[name], atol=tolerance, rtol=0, err_msg=name)


def test_canvas_that_is_no_multiple_of_32_is_refused(random_variables):
    with pytest.raises(ValueError, match="multiples of 32, got 48x64"):
        EfficientNetLite(0).apply(
            random_variables, jnp.zeros((1, 48, 64, 3)), jnp.asarray([[48, 64]])
        )


def _centre_square(photo: np.ndarray) -> np.ndarray:
    """The shorter edge to 224 (bicubic), then the central 224x224, normalised."""
    height, width = photo.shape[:2]
    scale = 224 / min(height, width)
    image = Image.fromarray(photo).resize(
        (round(width * scale), round(height * scale)), Image.Resampling.BICUBIC
    )
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return (pixels - 127) / 128


def _probabilities() -> tuple[np.ndarray, np.ndarray]:
    """Of the ImageNet classes: for a photo of a cat, and for one of a cup of coffee."""
    tensors, variables = read_weights_file(lite_file(0)).tensors, trunk_variables(0)
    photos = np.stack([_centre_square(data.chelsea()), _centre_square(data.coffee())])
    x = np.asarray(_lite0(variables, photos, jnp.asarray([[224, 224]] * 2))["res5"])
    # The file's head: a 1x1 convolution with batch norm and ReLU6, the mean, a dense layer.
    x = x @ tensors["_conv_head.weight"][:, :, 0, 0].T
    x = (x - tensors["_bn1.running_mean"]) / np.sqrt(tensors["_bn1.running_var"] + 1e-3)
    x = np.clip(x * tensors["_bn1.weight"] + tensors["_bn1.bias"], 0, 6).mean((1, 2))
    logits = x @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    cat, coffee = np.asarray(jax.nn.softmax(logits))
    return cat, coffee


def test_pretrained_lite0_recognises_a_cat_and_an_espresso():
    """Lite1 and Lite2 are more and wider blocks of the same kinds, and their files fit them too
    (tests/importers/test_efficientnet_lite.py)."""
    cat, coffee = _probabilities()
    # Probabilities of the published port; 0.01 covers another resize and rounding.
    np.testing.assert_allclose(
        cat[[EGYPTIAN_CAT, TIGER_CAT, TABBY]], [0.385, 0.332, 0.163], atol=0.01
    )
    assert cat.argmax() == EGYPTIAN_CAT
    np.testing.assert_allclose(coffee[ESPRESSO], 0.94, atol=0.01)
