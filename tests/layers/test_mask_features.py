"""What a refiner's maps know of a given mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.mask_features import MaskFeatures, mask_pyramid

_SIDE = 64


def _seen(mask: np.ndarray, other: str = "") -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """The maps, the outline and the error's logit of a mask on a photo of noise.

    Args: other, a map that is another noise.
    """
    rng = np.random.default_rng(0)
    pixels = jnp.asarray(rng.normal(size=(1, _SIDE, _SIDE, 3)), jnp.float32)
    maps = {
        name: jnp.asarray(rng.normal(size=(1, _SIDE // stride, _SIDE // stride, 8)), jnp.float32)
        for name, stride in (("res2", 4), ("res3", 8), ("res4", 16), ("res5", 32))
    }
    if other:
        maps[other] = maps[other][..., ::-1]
    hw, module = jnp.full((1, 2), _SIDE), MaskFeatures(24)

    def run(mask: jax.Array) -> tuple[list[jax.Array], jax.Array, jax.Array]:
        arguments = pixels, maps, mask_pyramid(mask), hw
        return module.apply(module.init(jax.random.key(0), *arguments), *arguments)  # pyright: ignore[reportReturnType]

    fine, outline, error = jax.jit(run)(mask[None, ..., None].astype(np.float32))
    return [np.asarray(x) for x in fine], np.asarray(outline), np.asarray(error)


def _jagged(straight: np.ndarray) -> np.ndarray:
    """With teeth at the right outline whose means over 4 pixels are those of the straight one."""
    mask = straight.copy()
    mask[16:48:4, 42], mask[17:48:4, 41] = True, False
    return mask


def test_the_outline_and_its_error_know_what_means_over_cells_do_not_show() -> None:
    straight = np.zeros((_SIDE, _SIDE), bool)
    straight[16:48, 16:42] = True
    jagged = _jagged(straight)
    means = (mask_pyramid(jnp.asarray(m[None, ..., None], jnp.float32)) for m in (straight, jagged))
    for ours, theirs in zip(*(list(m)[1:] for m in means), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    of_straight, of_jagged = _seen(straight), _seen(jagged)
    np.testing.assert_array_equal(of_straight[0][2], of_jagged[0][2])
    assert np.abs(of_straight[1] - of_jagged[1]).max() > 1e-4
    assert np.abs(of_straight[2] - of_jagged[2]).max() > 1e-4


@pytest.mark.parametrize("name", ["res2", "res3", "res4", "res5"])
def test_every_map_of_the_photo_is_read(name: str) -> None:
    box = np.zeros((_SIDE, _SIDE), bool)
    box[16:48, 16:42] = True
    assert np.abs(_seen(box)[0][0] - _seen(box, name)[0][0]).max() > 1e-3


def test_an_outline_between_two_cells_counts() -> None:
    # A box whose sides are those of cells of 8, 4 and 2 pixels, so that no cell is cut.
    box = np.zeros((_SIDE, _SIDE), bool)
    box[16:48, 16:48] = True
    outline = _seen(box)[1]
    assert np.abs(outline).max() > 1e-2
