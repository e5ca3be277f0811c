"""What a training step needs is counted before anything is compiled; what cannot fit is refused."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import pytest

from pointrend_jax import extend
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Variables
from pointrend_jax.training import memory
from pointrend_jax.training.memory import StepMemory, check_step_memory, step_memory
from tests.own_parts import Patches, only_built_in, spec
from tests.tiny import tiny_config, tiny_semantic_config
from tests.tiny_refiner import refiner_config

_GIB = 2**30


def _with_memory(monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    monkeypatch.setattr(memory, "memory_of_device", lambda: limit)


def _counted(monkeypatch: pytest.MonkeyPatch, state: int, image: int) -> None:
    monkeypatch.setattr(memory, "step_memory", lambda config: StepMemory(state, image))


@pytest.fixture
def config() -> Config:
    """8 images a step, on canvases of 800 x 1344 at most."""
    config = tiny_config()
    config.train.batch_size = 8 * jax.device_count()
    config.data.buckets = ((800, 800), (800, 1344))
    return config


@cache
def _on_patches(make: Callable[..., Config], side: int) -> tuple[StepMemory, Variables]:
    """What is counted of a model on a backbone that is quick to trace, and its variables."""
    with only_built_in():
        extend.BACKBONES.add("patches", spec(Patches()))
        config = make(backbone="patches")
        config.model.freeze_at, config.model.mask_head = 0, "conv"
        config.model.semantic.norm = "batch_norm"
        config.data.buckets, config.data.crop_hw = ((side, side),), (side, side)
        return step_memory(config), build_task(config).shapes()


def test_the_state_is_parameters_momentum_and_gradients():
    memory_of_step, shapes = _on_patches(tiny_semantic_config, 256)
    params, buffers = (
        sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes[name]))
        for name in ("params", "buffers")
    )
    assert buffers
    # A number or two beside them, such as the step's.
    assert 3 * params + buffers <= memory_of_step.state <= 3 * params + buffers + 64


@pytest.mark.parametrize("make", [tiny_config, tiny_semantic_config])
def test_an_image_of_four_times_the_pixels_needs_about_four_times_as_much(make):
    small, large = (_on_patches(make, side)[0].image for side in (256, 512))
    assert 2.5 < large / small < 4.5


def test_what_fits_by_far_is_not_even_counted(config: Config, monkeypatch: pytest.MonkeyPatch):
    def count(config: Config) -> StepMemory:
        raise AssertionError("counted")

    monkeypatch.setattr(memory, "step_memory", count)
    _with_memory(monkeypatch, None)
    check_step_memory(config)
    _with_memory(monkeypatch, 1000 * _GIB)
    check_step_memory(config)


# (GiB of the device, of the state and of an image, what the message advises)
_TOO_LARGE = [
    (16, 1, 4, r"about 33\.0 GiB .*800 x 1344.* 16\.0 GiB; set .*_steps=4, .*batch_size={3}"),
    (4, 1, 4, r"one image of 608 x 1024 would fit \(config\.data\.buckets"),
    (1, 2, 4, r"has 1\.0 GiB; config\.model\.compute_dtype='bfloat16'"),
]


@pytest.mark.parametrize(("limit", "state", "image", "message"), _TOO_LARGE)
def test_what_cannot_fit_is_refused_with_sizes_that_would(
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    state: int,
    image: int,
    message: str,
):
    _counted(monkeypatch, state * _GIB, image * _GIB)
    _with_memory(monkeypatch, limit * _GIB)
    with pytest.raises(ValueError, match=message.replace("{3}", str(3 * jax.device_count()))):
        check_step_memory(config)


def test_a_refiner_which_has_one_type_is_not_advised_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = refiner_config()
    config.train.batch_size = jax.device_count()
    # So that counting is worth while on so small a canvas.
    _counted(monkeypatch, 0, 2**26)
    _with_memory(monkeypatch, 2**25)
    with pytest.raises(ValueError, match=r"config\.train\.remat=True needs less") as refused:
        check_step_memory(config)
    assert "compute_dtype" not in str(refused.value)


def test_what_may_not_fit_is_told(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    _counted(monkeypatch, _GIB, _GIB)
    _with_memory(monkeypatch, 10 * _GIB)
    check_step_memory(config)
    assert "about 9.0 GiB of memory" in capsys.readouterr().out
    config.train.accumulate_steps = 2
    check_step_memory(config)
    assert capsys.readouterr().out == ""


def test_the_largest_canvas_is_that_of_a_batch_of_images_of_one_orientation():
    config = tiny_config()
    config.data.buckets = ((256, 416), (416, 256))
    assert memory.canvas_hw(config) == (256, 416)
    config.data.buckets = ((256, 416), (320, 384), (416, 256))
    assert memory.canvas_hw(config) == (320, 416)


def test_a_step_of_labelled_points_is_counted_without_masks():
    config = tiny_config()
    config.data.supervision, config.data.points_per_step = "points", 5
    batch: Any = memory.batch_shapes(config)
    assert batch.mask_bits is None
    assert batch.point_coords.shape[2:] == (5, 2)
    assert batch.point_labels.shape == batch.point_coords.shape[:3]
