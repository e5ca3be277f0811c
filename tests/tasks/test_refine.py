"""A refiner begins with the given mask, and leaves alone what seems right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pointrend_jax.layers.mask_features import logits_of_means, mask_pyramid, start_logits
from pointrend_jax.models.refiner import RefinedLogits, build_refiner, outline_error
from pointrend_jax.results.refined import RefinedCrop
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.predict_batches import on_one_device
from pointrend_jax.tasks.refine import crop_sample, refine_task
from tests.tiny_refiner import ellipse, photo, refiner_config, refiner_variables, tiny_refiner


def test_the_outline_error_is_the_distance_of_two_straight_outlines() -> None:
    given, truth = np.zeros((2, 32, 32, 1), np.float32), np.zeros((2, 32, 32, 1), np.float32)
    given[:, :, :10], truth[0, :, :13], truth[1, :, :9] = 1, 1, 1
    error = jax.jit(outline_error)(given, truth)
    np.testing.assert_allclose(error, [3, 1], rtol=1e-6)


@pytest.mark.parametrize("step", [4, 8, 16])
def test_start_logits_have_the_sign_of_the_mask_and_grow_away_from_its_outline(step: int) -> None:
    mask = np.zeros((1, 128, 128, 1), np.float32)
    mask[:, :, :64] = 1
    started = jax.jit(lambda mask: start_logits(mask_pyramid(mask), step))(mask)
    logits = np.asarray(started)[0, 0, :, 0]
    cells = 128 // step
    assert logits.shape == (cells,)
    assert (logits[: cells // 2] > 0).all()
    assert (logits[cells // 2 :] < 0).all()
    assert (np.diff(logits) <= 1e-6).all()
    assert logits[0] == pytest.approx(6)
    assert np.all(jax.jit(logits_of_means)(np.full((1, 5), 0.5, np.float32)) == 0)


def test_before_training_masks_stay_as_they_were_given() -> None:
    variables = refiner_variables()
    variables["params"]["point_head"]["predictor"]["kernel"] *= 0
    task = build_task(refiner_config())
    crop = tiny_refiner().crop(photo(), ellipse(), "the mask")
    sample = crop_sample([0], [crop], 64, 8)
    # The program is that of the predictor of the other tests.
    predicted = on_one_device(task, variables, 1)(sample)
    (refined,) = task.results(sample, predicted, ("object",))
    assert isinstance(refined, RefinedCrop)
    assert not refined.left_alone
    wrong = np.count_nonzero(refined.mask != crop.given)
    assert wrong < 0.02 * crop.given.sum()


def _predicted(logit: float, *errors: float) -> RefinedLogits:
    """The same logit on the whole canvas of each crop, and how far its outline seems to be off."""
    logits = np.full((len(errors), 64, 64), logit, np.float32)
    return RefinedLogits(jnp.asarray(logits), jnp.asarray(errors, jnp.float32))


def test_a_mask_whose_outline_seems_right_is_left_alone() -> None:
    crop = tiny_refiner().crop(photo(), ellipse(), "the mask")
    sample = crop_sample([0, 1], [crop, crop], 64, 2)
    # The canvas says that there is something else; the outlines seem to be off by 0.4 and 0.6 px.
    predicted = _predicted(9, 0.4, 0.6)
    task = refine_task(build_refiner(refiner_config()), keep_below=0.5)
    alone, changed = task.results(sample, predicted, ("object",))
    assert isinstance(alone, RefinedCrop)
    assert isinstance(changed, RefinedCrop)
    assert (alone.left_alone, changed.left_alone) == (True, False)
    np.testing.assert_array_equal(alone.mask, crop.given)
    assert changed.mask.all()
    # From pixels of the canvas of 64 to those of the window of 56.
    assert alone.error == pytest.approx(0.4 * 56 / 64)


@pytest.mark.parametrize(("logit", "changes"), [(0.6, False), (1.1, True)])
def test_a_pixel_changes_where_the_canvas_is_sure(logit: float, changes: bool) -> None:
    # Probabilities of 0.65 and 0.75.
    crop = tiny_refiner().crop(photo(), ellipse(), "the mask")
    task = refine_task(build_refiner(refiner_config()), keep_below=0.5)
    sample = crop_sample([0], [crop], 64, 1)
    (refined,) = task.results(sample, _predicted(logit, 5), ("object",))
    assert isinstance(refined, RefinedCrop)
    assert refined.mask.all() == changes
    assert np.array_equal(refined.mask, crop.given) != changes


def test_a_mask_does_not_vanish() -> None:
    crop = tiny_refiner().crop(photo(), ellipse(), "the mask")
    predicted = _predicted(-9, 5)
    task = refine_task(build_refiner(refiner_config()), keep_below=0.5)
    (refined,) = task.results(crop_sample([0], [crop], 64, 1), predicted, ("object",))
    assert isinstance(refined, RefinedCrop)
    np.testing.assert_array_equal(refined.mask, crop.given)


def test_all_but_the_backbone_is_trained() -> None:
    task = build_task(refiner_config())
    params = flatten_dict(task.shapes()["params"])
    assert {path[0] for path in params if task.is_trainable(path)} == {"features", "point_head"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.buckets", ((64, 96),), "config.data.buckets must be one square"),
        ("data.buckets", ((64, 64), (96, 96)), "config.data.buckets must be one square"),
        ("num_classes", 3, "config.num_classes must be 1"),
        ("model.output_stride", 16, "config.model.output_stride must be 32"),
        ("model.norm", "batch_norm", "config.model.norm must be 'frozen' for a refiner"),
        ("model.compute_dtype", "bfloat16", "compute_dtype must be 'float32' for a refiner"),
        ("model.compute_dtype", "bfloat17", "compute_dtype must be 'float32' for a refiner"),
        ("model.refine.conv_dim", 20, "config.model.refine.conv_dim must be a multiple of 24"),
    ],
)
def test_a_wrong_config_is_named(field: str, value: object, message: str) -> None:
    config = refiner_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message):
        build_refiner(config)
