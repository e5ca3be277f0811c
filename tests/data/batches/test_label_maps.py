"""From label images to crops: nothing lost, nothing moved, and exactly resumable."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.data.batches.evaluation import eval_samples
from pointrend_jax.data.batches.label_maps import (
    CropAugmentation,
    SemanticPlan,
    semantic_train_batches,
)
from pointrend_jax.data.records.label_maps import PreparedMaps, prepare_maps
from pointrend_jax.data.sources.camvid import read_camvid
from pointrend_jax.structures import IGNORE_LABEL, SemanticBatch, check_shapes
from tests.data.label_sets import blocks, write_camvid
from tests.data.plans import check_is_decided_by_seed_and_position

# Wide, tall, small and large images.
_SIZES = ((48, 72), (72, 48), (20, 40), (96, 100), (64, 64))
_CHOICES = CropAugmentation(
    min_sizes=(48, 64, 96),
    max_size=160,
    crop_hw=(64, 96),
    max_category_area=1.0,
    color=False,
    flip_probability=0.5,
)
_BUCKETS = ((64, 96), (96, 64), (96, 96))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedMaps:
    """The blue of an image is its number, red shows its labels."""
    folder = tmp_path_factory.mktemp("camvid")
    write_camvid(folder, "train", [blocks(hw, n) for n, hw in enumerate(_SIZES)])
    return prepare_maps(read_camvid(folder, "train"), folder / "cache")


def _plan(batch_size: int = 2, seed: int = 0, **changes: Any) -> SemanticPlan:
    choices = _CHOICES._replace(**changes)
    return SemanticPlan(_SIZES, choices, batch_size=batch_size, seed=seed)


def _batches(
    prepared: PreparedMaps, plan: SemanticPlan, index: int = 0, count: int = 1, threads: int = 2
) -> Any:
    return semantic_train_batches(
        prepared, plan, process_index=index, process_count=count, num_threads=threads
    )


def _assert_equal(one: SemanticBatch, other: SemanticBatch) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
def test_an_epoch_holds_every_image_once(batch_size: int):
    plan = _plan(batch_size)
    planned = [crop for i in range(30) for crop in plan[i]]
    assert all(len(plan[i]) == batch_size for i in range(30))
    records = [crop.record for crop in planned]
    for start in range(0, len(records) - len(_SIZES) + 1, len(_SIZES)):
        assert sorted(records[start : start + len(_SIZES)]) == list(range(len(_SIZES)))
    assert len({crop.seed for crop in planned}) == len(planned)


def test_a_batch_is_decided_by_seed_and_position_alone():
    check_is_decided_by_seed_and_position(lambda seed: _plan(seed=seed))


def test_every_size_of_the_list_is_drawn():
    plan = _plan(max_size=1000)
    sides = {min(crop.image_hw) for i in range(60) for crop in plan[i]}
    assert sides == set(_CHOICES.min_sizes)


def test_batches_have_one_canvas_and_their_own_sizes(prepared: PreparedMaps):
    plan = _plan()
    batches = _batches(prepared, plan)
    for i in range(10):
        batch = next(batches)
        check_shapes(batch)
        assert batch.images.shape == (2, 64, 96, 3)
        np.testing.assert_array_equal(batch.padded_hw, [[64, 96]] * 2)
        assert batch.image_index.tolist() == [0, 1]
        for b, planned in enumerate(plan[i]):
            expected = np.minimum(planned.image_hw, (64, 96))
            np.testing.assert_array_equal(batch.image_hw[b], expected)


def test_canvas_beyond_the_image_is_black_and_without_truth(prepared: PreparedMaps):
    batches, beyond = _batches(prepared, _plan()), 0
    for _ in range(10):
        batch = next(batches)
        for b, (height, width) in enumerate(batch.image_hw):
            outside = np.ones((64, 96), bool)
            outside[:height, :width] = False
            assert (batch.labels[b][outside] == IGNORE_LABEL).all()
            assert (batch.labels[b][~outside] != IGNORE_LABEL).all()
            assert not batch.images[b][outside].any()
            beyond += outside.sum()
    assert beyond > 0


def test_labels_stay_on_their_pixels(prepared: PreparedMaps):
    batches = _batches(prepared, _plan())
    for _ in range(20):
        batch = next(batches)
        for b, (height, width) in enumerate(batch.image_hw):
            shown = batch.images[b, :height, :width, 0] > 127
            labels = batch.labels[b, :height, :width]
            shifted = [np.roll(labels, step, axis) for axis in (0, 1) for step in (-1, 1)]
            others = min(np.mean(shown != other) for other in (*shifted, labels[:, ::-1]))
            # Bilinear and nearest edges differ a little; a shift of one pixel makes it far worse.
            assert 2 * np.mean(shown != labels) < others


def _whole_images(prepared: PreparedMaps, **changes: Any) -> Any:
    """Images at their own size in a canvas that holds them: crops cut nothing off."""
    changes = {"min_sizes": (64,), "max_size": 64, "crop_hw": (64, 64)} | changes
    return _batches(prepared, _plan(batch_size=1, **changes))


def test_images_are_flipped_with_their_probability(prepared: PreparedMaps):
    never, always, half = (_whole_images(prepared, flip_probability=p) for p in (0.0, 1.0, 0.5))
    flipped = 0
    for _ in range(40):
        straight, mirrored, drawn = next(never), next(always), next(half)
        width = straight.image_hw[0, 1]
        for field in ("images", "labels"):
            pixels = getattr(straight, field)[:, :, :width]
            np.testing.assert_array_equal(
                getattr(mirrored, field)[:, :, :width], pixels[:, :, ::-1]
            )
        is_straight = np.array_equal(drawn.images, straight.images)
        assert is_straight or np.array_equal(drawn.images, mirrored.images)
        flipped += not is_straight
    # Three standard deviations of 40 throws of a coin.
    assert abs(flipped - 20) < 10


def test_colours_change_pixels_but_no_labels(prepared: PreparedMaps):
    plain, colored = (_whole_images(prepared, color=color) for color in (False, True))
    changed = 0
    for _ in range(10):
        before, after = next(plain), next(colored)
        np.testing.assert_array_equal(before.labels, after.labels)
        changed += not np.array_equal(before.images, after.images)
        height, width = before.image_hw[0]
        # Colour comes before the canvas, which stays black.
        assert not after.images[0, height:].any()
        assert not after.images[0, :, width:].any()
    assert changed > 5


def test_crops_that_one_class_fills_are_drawn_again(tmp_path: Path):
    # A narrow stripe of class 1: few crops hold a quarter of it.
    labels = np.zeros((64, 640), np.uint8)
    labels[:, 300:332] = 1
    write_camvid(tmp_path, "train", [labels])
    prepared = prepare_maps(read_camvid(tmp_path, "train"), tmp_path / "cache")

    def mixed(max_area: float) -> float:
        choices = _CHOICES._replace(
            min_sizes=(64,), max_size=640, crop_hw=(64, 96), max_category_area=max_area
        )
        plan = SemanticPlan([(64, 640)], choices, batch_size=8, seed=0)
        batches = _batches(prepared, plan)
        shares = [(next(batches).labels == 1).mean(axis=(1, 2)) for _ in range(5)]
        return float(np.mean(np.concatenate(shares) > 0.25))

    # About one place in eight is good; of ten places, one nearly always is.
    assert mixed(1.0) < 0.4
    assert mixed(0.75) > 0.55


def test_position_resumes_exactly(prepared: PreparedMaps):
    batches = _batches(prepared, _plan(color=True))
    for _ in range(3):
        next(batches)
    state = batches.get_state()
    expected = [next(batches) for _ in range(6)]
    resumed = _batches(prepared, _plan(color=True), threads=1)
    resumed.set_state(state)
    for batch in expected:
        _assert_equal(batch, next(resumed))


def test_hosts_load_the_parts_of_the_global_batch(prepared: PreparedMaps):
    plan = _plan(batch_size=4, color=True)
    whole = _batches(prepared, plan)
    parts = [_batches(prepared, plan, index, 2) for index in range(2)]
    for _ in range(4):
        joined = [np.concatenate(fields) for fields in zip(*map(next, parts), strict=True)]
        _assert_equal(next(whole), SemanticBatch(*joined))


def test_hosts_that_do_not_divide_the_batch_are_an_error(prepared: PreparedMaps):
    with pytest.raises(ValueError, match="multiple of the 2 processes, got 3"):
        _batches(prepared, _plan(batch_size=3), 0, 2)


# (what is wrong, changes, what the message says)
_ERRORS = [
    ("half a cell", {"crop_hw": (64, 80)}, r"crop_hw must be .*multiples of 32, got \(64, 80\)"),
    ("no height", {"crop_hw": (0, 64)}, r"crop_hw must be .*got \(0, 64\)"),
    ("one side", {"crop_hw": (64,)}, r"crop_hw must be \(height, width\)"),
    ("area of nothing", {"max_category_area": 0.0}, "max_category_area must be above 0.*got 0.0"),
    ("area of more", {"max_category_area": 1.5}, "at most 1, got 1.5"),
    ("no size", {"min_sizes": ()}, "train_min_sizes must have at least one size"),
    ("size 0", {"min_sizes": (0, 64)}, r"only positive ones, got \(0, 64\)"),
    ("no longer edge", {"max_size": 0}, "only positive ones, got .* and 0"),
]


@pytest.mark.parametrize(
    ("changes", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_impossible_crops_are_an_error(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        _plan(**changes)


def _samples(prepared: PreparedMaps, **changes: Any) -> list[Any]:
    arguments: dict[str, Any] = {"min_size": 48, "max_size": 96, "buckets": _BUCKETS}
    return list(eval_samples(prepared, **arguments, batch_size=2, **changes))


def test_evaluation_sees_every_image_once(prepared: PreparedMaps):
    samples = _samples(prepared)
    assert sorted(i for s in samples for i in s.image_ids) == list(range(len(_SIZES)))
    for sample in samples:
        assert sample.batch.images.shape[1:3] in _BUCKETS
        assert sample.batch.valid.tolist() == [i < len(sample.image_ids) for i in range(2)]
        for slot, image_id in enumerate(sample.image_ids):
            assert sample.original_hw[slot] == _SIZES[image_id]
            assert sample.batch.images[slot, 0, 0, 2] == image_id
        assert not sample.batch.images[~sample.batch.valid].any()


def test_every_scale_has_the_same_images_in_the_same_batches(prepared: PreparedMaps):
    plain = _samples(prepared)
    for scale in (0.5, 1.5, 2.0):
        scaled = _samples(prepared, scale=scale)
        assert [s.image_ids for s in scaled] == [s.image_ids for s in plain]
        assert [s.original_hw for s in scaled] == [s.original_hw for s in plain]
        for one, other in zip(plain, scaled, strict=True):
            np.testing.assert_array_equal(one.batch.valid, other.batch.valid)
            for slot in range(len(one.image_ids)):
                hw = one.batch.image_hw[slot] * scale
                # Each is rounded from the original size.
                np.testing.assert_allclose(other.batch.image_hw[slot], hw, atol=1 + scale)
            assert (other.batch.image_hw <= other.batch.images.shape[1:3]).all()


def test_mirrored_samples_are_mirrored(prepared: PreparedMaps):
    for plain, mirrored in zip(_samples(prepared), _samples(prepared, flip=True), strict=True):
        assert mirrored.image_ids == plain.image_ids
        for slot in range(len(plain.image_ids)):
            height, width = plain.batch.image_hw[slot]
            image = plain.batch.images[slot, :height, :width]
            flipped = mirrored.batch.images[slot, :height, :width].astype(int)
            # Pillow's resize is not mirrored to the last bit.
            assert np.abs(flipped - image[:, ::-1]).max() <= 1
            assert np.abs(flipped - image).max() > 100


def test_scale_that_is_not_positive_is_an_error(prepared: PreparedMaps):
    with pytest.raises(ValueError, match=r"must be positive, got 0\.0"):
        _samples(prepared, scale=0.0)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_hosts_share_an_evaluation(prepared: PreparedMaps, processes: int):
    choices: dict[str, Any] = {"min_size": 48, "max_size": 96, "buckets": _BUCKETS}
    parts = [
        eval_samples(
            prepared, **choices, batch_size=4, process_index=index, process_count=processes
        )
        for index in range(processes)
    ]
    ids = [sample.image_ids for part in parts for sample in part]
    assert all(ids)
    assert sorted(i for part in ids for i in part) == list(range(len(_SIZES)))


def test_an_evaluation_that_hosts_cannot_share_is_refused_before_an_image_is_read(
    prepared: PreparedMaps,
):
    with pytest.raises(ValueError, match=r"eval\.batch_size .* of the 3 processes.* 6"):
        eval_samples(
            prepared, min_size=48, max_size=96, buckets=_BUCKETS, batch_size=8, process_count=3
        )
