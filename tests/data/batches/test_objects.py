"""From an annotation file to batches: nothing lost, nothing repeated, and exactly resumable."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.batches.evaluation import eval_samples
from pointrend_jax.data.batches.objects import train_batches
from pointrend_jax.data.batches.train_plan import Augmentation, TrainPlan
from pointrend_jax.data.records.objects import PreparedSet
from pointrend_jax.structures import check_shapes
from tests.data.object_sets import prepare

_BUCKETS = ((32, 64), (64, 32), (64, 64))
_CHOICES = Augmentation(min_sizes=(20, 28), max_size=64, flip_probability=0.5, buckets=_BUCKETS)
# Wide, tall and square images: every bucket appears.
_SIZES = ((20, 40), (40, 20), (30, 30), (20, 36), (36, 20), (20, 40), (20, 44))


def _write_set(folder: Path) -> Path:
    """Image n has n % 3 objects, each a rectangle; one of them is a crowd region."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for n, (height, width) in enumerate(_SIZES):
        pixels = np.full((height, width, 3), (n, 100, 0), np.uint8)
        # Blue grows to the right, so that a flip shows.
        pixels[:, :, 2] = np.arange(width) * 4
        Image.fromarray(pixels).save(folder / f"{n}.png")
        images.append({"id": n + 10, "file_name": f"{n}.png", "height": height, "width": width})
        for k in range(n % 3):
            polygon = [2.0, 4.0, 14.0, 4.0, 14.0, 10.0 + k, 2.0, 10.0 + k]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": n + 10,
                    "category_id": 1,
                    "iscrowd": int(n == 5 and k == 1),
                    "bbox": [2, 4, 12, 6 + k],
                    "area": 12.0 * (6 + k),
                    "segmentation": [polygon],
                }
            )
    path = folder / "annotations.json"
    content = {"images": images, "annotations": annotations}
    path.write_text(json.dumps(content | {"categories": [{"id": 1, "name": "box"}]}))
    return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    folder = tmp_path_factory.mktemp("coco")
    return prepare(_write_set(folder), folder, folder / "cache")


def _plan(batch_size: int = 2, seed: int = 0) -> TrainPlan:
    return TrainPlan(_SIZES, range(len(_SIZES)), _CHOICES, batch_size=batch_size, seed=seed)


def _batches(prepared: PreparedSet, index: int = 0, count: int = 1) -> Any:
    return train_batches(prepared, _plan(), process_index=index, process_count=count, num_threads=2)


def test_batches_carry_the_annotated_objects(prepared: PreparedSet):
    batches = _batches(prepared)
    for _ in range(4):
        batch = next(batches)
        check_shapes(batch)
        assert batch.valid.shape[1] == 2
        np.testing.assert_array_equal(batch.padded_hw, -(-batch.image_hw // 32) * 32)
        masks = np.unpackbits(batch.mask_bits, axis=-1, bitorder="little").astype(bool)
        for b, g in np.argwhere(batch.valid):
            ys, xs = np.nonzero(masks[b, g])
            tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(batch.boxes[b, g], tight, atol=1.0)
        assert not masks[~batch.valid].any()
        assert not batch.boxes[~batch.valid].any()


def test_crowd_regions_are_no_training_objects(prepared: PreparedSet):
    batches = _batches(prepared)
    for _ in range(8):
        batch = next(batches)
        # The image's own red names it: image 5 has an object and a crowd region.
        for b in np.flatnonzero(batch.images[:, 0, 0, 0] == 5):
            assert batch.valid[b].sum() == 1


def test_pixels_and_boxes_are_flipped_together(prepared: PreparedSet):
    batches, plan, flips = _batches(prepared), _plan(), Counter()
    for i in range(8):
        batch = next(batches)
        for b, planned in enumerate(plan[i].images):
            width = planned.image_hw[1]
            blue = batch.images[b, 0, :width, 2].astype(int)
            assert (blue[0] > blue[-1]) == planned.flip
            # Every object is nearer to the left edge of its unflipped image.
            for box in batch.boxes[b][batch.valid[b]]:
                assert (box[0] > width - box[2]) == planned.flip
                flips[planned.flip] += 1
    assert min(flips[False], flips[True]) > 0


def test_position_resumes_exactly(prepared: PreparedSet):
    batches = _batches(prepared)
    for _ in range(3):
        next(batches)
    state = batches.get_state()
    expected = [next(batches) for _ in range(6)]
    resumed = _batches(prepared)
    resumed.set_state(state)
    for batch in expected:
        for field, again in zip(batch, next(resumed), strict=True):
            np.testing.assert_array_equal(field, again)


def test_hosts_load_the_parts_of_the_global_batch(prepared: PreparedSet):
    whole, left, right = _batches(prepared), _batches(prepared, 0, 2), _batches(prepared, 1, 2)
    for _ in range(4):
        parts = [next(left), next(right)]
        for field, *joined in zip(*map(jax.tree.leaves, (next(whole), *parts)), strict=True):
            np.testing.assert_array_equal(field, np.concatenate(joined))


def test_all_hosts_have_the_slots_that_the_richest_image_of_a_batch_needs(prepared: PreparedSet):
    # Image 0 says that it has 20 objects.
    rich = prepared.images[0]._replace(labels=(0,) * 20)
    few = prepared._replace(images=(rich, *prepared.images[1:]))
    # A large canvas, which no image takes, makes slots worth their programs.
    choices = _CHOICES._replace(buckets=(*_BUCKETS, (4096, 4096)))
    plan, seen = TrainPlan(_SIZES, range(len(_SIZES)), choices, batch_size=2, seed=0), Counter()
    hosts = [
        train_batches(few, plan, process_index=index, process_count=2, num_threads=2)
        for index in range(2)
    ]
    for i in range(8):
        slots = 20 if 0 in [image.record for image in plan[i].images] else 8
        seen[slots] += 1
        for host in hosts:
            batch = next(host)
            check_shapes(batch)
            assert batch.valid.shape == (1, slots)
    assert set(seen) == {8, 20}


def test_evaluation_sees_every_image_once(prepared: PreparedSet):
    samples = list(eval_samples(prepared, min_size=28, max_size=64, buckets=_BUCKETS, batch_size=2))
    ids = [i for sample in samples for i in sample.image_ids]
    assert sorted(ids) == [image.id for image in prepared.images]
    for sample in samples:
        assert sample.batch.images.shape[1:3] in _BUCKETS
        assert sample.batch.valid.tolist() == [i < len(sample.image_ids) for i in range(2)]
        for slot, image_id in enumerate(sample.image_ids):
            assert sample.original_hw[slot] == _SIZES[image_id - 10]
            assert sample.batch.images[slot, 0, 0, 0] == image_id - 10
        assert not sample.batch.images[~sample.batch.valid].any()


def test_a_host_without_an_image_of_a_batch_has_fewer_batches(prepared: PreparedSet):
    parts = [
        [
            sample.image_ids
            for sample in eval_samples(
                prepared, min_size=28, max_size=64, buckets=_BUCKETS, batch_size=8,
                process_index=index, process_count=4,
            )
        ]
        for index in range(4)
    ]  # fmt: skip
    assert sorted(i for part in parts for ids in part for i in ids) == list(range(10, 17))
    assert all(ids for part in parts for ids in part)
    assert len(parts[3]) < len(parts[0])


def test_an_evaluation_that_hosts_cannot_share_is_refused_before_an_image_is_read(
    prepared: PreparedSet,
):
    with pytest.raises(ValueError, match=r"eval\.batch_size .* of the 3 processes.* 6"):
        eval_samples(
            prepared, min_size=28, max_size=64, buckets=_BUCKETS, batch_size=8, process_count=3
        )
