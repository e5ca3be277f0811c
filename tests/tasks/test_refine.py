"""A refiner begins with the given mask, learns from points, and leaves its backbone alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.layers.mask_features import logits_of_means, mask_pyramid, start_logits
from pointrend_jax.models.refiner import build_refiner, outline_error
from pointrend_jax.structures import CropBatch, check_shapes
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.predict_batches import on_one_device
from pointrend_jax.tasks.refine import crop_sample
from tests.tiny import tiny_variables
from tests.tiny_refiner import ellipse, photo, refiner_config, refiner_variables, tiny_refiner


def test_the_outline_error_is_the_distance_of_two_straight_outlines() -> None:
    given, truth = np.zeros((2, 32, 32, 1), np.float32), np.zeros((2, 32, 32, 1), np.float32)
    given[:, :, :10], truth[0, :, :13], truth[1, :, :9] = 1, 1, 1
    error = outline_error(jnp.asarray(given), jnp.asarray(truth))
    np.testing.assert_allclose(error, [3, 1], rtol=1e-6)


@pytest.mark.parametrize("step", [4, 8, 16])
def test_start_logits_have_the_sign_of_the_mask_and_grow_away_from_its_outline(step: int) -> None:
    mask = np.zeros((1, 128, 128, 1), np.float32)
    mask[:, :, :64] = 1
    logits = np.asarray(start_logits(mask_pyramid(jnp.asarray(mask)), step))[0, 0, :, 0]
    cells = 128 // step
    assert logits.shape == (cells,)
    assert (logits[: cells // 2] > 0).all()
    assert (logits[cells // 2 :] < 0).all()
    assert (np.diff(logits) <= 1e-6).all()
    assert logits[0] == pytest.approx(6)
    assert float(logits_of_means(jnp.full((1, 5), 0.5))[0, 0]) == 0


def test_before_training_masks_stay_as_they_were_given() -> None:
    variables = refiner_variables()
    variables["params"]["point_head"]["predictor"]["kernel"] *= 0
    task = build_task(refiner_config())
    crop = tiny_refiner().crop(photo(), ellipse(), "the mask")
    sample = crop_sample([0], [crop], 64, 8)
    # The program is that of the predictor of the other tests.
    predicted = on_one_device(task, variables, 1)(sample)  # pyright: ignore[reportArgumentType]
    (refined,) = task.results(sample, predicted, ("object",))  # pyright: ignore[reportArgumentType]
    assert not refined.left_alone  # pyright: ignore[reportAttributeAccessIssue]
    wrong = np.count_nonzero(refined.mask != crop.given)  # pyright: ignore[reportAttributeAccessIssue]
    assert wrong < 0.02 * crop.given.sum()


def test_the_gradient_reaches_all_but_the_backbone() -> None:
    crop = tiny_refiner().crop(photo(), ellipse(), "the mask")
    sample = crop_sample([0, 1], [crop, crop], 64, 2)
    images, image_hw, padded_hw, _, given = sample.batch
    truth = np.roll(given, 4, axis=2)
    batch = CropBatch(images, image_hw, padded_hw, np.arange(2, dtype=np.int32), given, truth)
    check_shapes(batch)
    task = build_task(refiner_config())
    variables = tiny_variables(task)

    @jax.jit
    def gradient(params: dict, batch: CropBatch) -> tuple:
        def loss(params: dict) -> tuple:
            terms, _ = task.loss(variables | {"params": params}, batch, jax.random.key(0))
            return sum(t.total / t.denominator for t in terms.values()), terms

        return jax.grad(loss, has_aux=True)(params)

    gradients, terms = gradient(variables["params"], batch)
    assert terms["loss_outline_error"].denominator == 2
    assert 0 < terms["loss_mask_point"].denominator <= 2 * 32
    moved = {
        "/".join(str(part.key) for part in path[:2]): float(jnp.abs(x).max())
        for path, x in jax.tree_util.tree_flatten_with_path(gradients)[0]
        if path[-1].key == "kernel"
    }
    assert all((value > 0) == (not name.startswith("backbone")) for name, value in moved.items())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.buckets", ((64, 96),), "config.data.buckets must be one square"),
        ("data.buckets", ((64, 64), (96, 96)), "config.data.buckets must be one square"),
        ("num_classes", 3, "config.num_classes must be 1"),
        ("model.output_stride", 16, "config.model.output_stride must be 32"),
        ("model.refine.conv_dim", 20, "config.model.refine.conv_dim must be a multiple of 24"),
    ],
)
def test_a_wrong_config_is_named(field: str, value: object, message: str) -> None:
    config = refiner_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message):
        build_refiner(config)
