"""Labelled points in a batch: where they lie, which of them, and how many."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.batches.object_points import PlacedPoints, transform_points
from pointrend_jax.data.batches.objects import PointSupervision, slot_sizes, train_batches
from pointrend_jax.data.batches.train_plan import Augmentation, TrainPlan
from pointrend_jax.data.batches.transforms import ImageObjects
from pointrend_jax.data.records.objects import PreparedSet, object_records, open_objects
from pointrend_jax.data.records.write import write_records
from pointrend_jax.structures import ObjectBatch, check_shapes
from tests.data.object_sets import find, prepare


def _placed(points: list, number: int, *, flip: bool = False, seed: int = 0) -> PlacedPoints:
    """Of objects with the box 1, 2, 5, 6 on an image of 10 x 20 (height x width), doubled."""
    boxes = np.tile([1.0, 2, 5, 6], (len(points), 1))
    arrays = [np.asarray(of_object, float).reshape(-1, 3) for of_object in points]
    objects = ImageObjects(boxes, np.arange(len(points)), [[]] * len(points), arrays)
    rng = np.random.default_rng(seed)
    return transform_points(objects, (10, 20), (20, 40), flip=flip, number=number, rng=rng)


def test_points_are_resized_and_flipped_with_the_image() -> None:
    points = [[(1.5, 2.5, 1), (4.5, 5.0, 0)]]
    np.testing.assert_array_equal(_placed(points, 2).coords, [[[3, 5], [9, 10]]])
    flipped = _placed(points, 2, flip=True)
    np.testing.assert_array_equal(flipped.coords, [[[37, 5], [31, 10]]])
    np.testing.assert_array_equal(flipped.labels, [[1, 0]])
    np.testing.assert_array_equal(flipped.boxes, [[30, 4, 38, 12]])


def test_objects_with_fewer_points_are_filled_with_ignored_ones() -> None:
    placed = _placed([[(1.5, 2.5, 1)], [(1.5, 2.5, 0), (2.5, 2.5, 1), (3.5, 2.5, -1)]], 3)
    np.testing.assert_array_equal(placed.labels, [[1, -1, -1], [0, 1, -1]])


def test_of_more_points_some_are_drawn_without_repetition() -> None:
    ten = [[(x + 0.5, 3, x % 2) for x in range(10)]]
    drawn = [_placed(ten, 5, seed=seed) for seed in range(20)]
    for placed in drawn:
        columns = placed.coords[0, :, 0] / 2 - 0.5
        assert len(set(columns.tolist())) == 5
        np.testing.assert_array_equal(placed.labels[0], columns % 2)
    assert len({tuple(placed.coords[0, :, 0]) for placed in drawn}) > 10
    assert len({x for placed in drawn for x in placed.coords[0, :, 0].tolist()}) == 10


def test_an_object_whose_box_has_become_empty_is_left_out() -> None:
    objects = ImageObjects(np.array([[1.0, 2, 1, 6]]), np.zeros(1, int), [[]], [np.zeros((1, 3))])
    rng = np.random.default_rng(0)
    placed = transform_points(objects, (10, 20), (20, 40), flip=False, number=1, rng=rng)
    assert placed.labels.shape == (0, 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """Three images with an object each, of four, two and four labelled points."""
    folder = tmp_path_factory.mktemp("points")
    content: dict = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "box"}]}
    for n, number in enumerate((4, 2, 4)):
        Image.new("RGB", (32, 32)).save(folder / f"{n}.png")
        image = {"id": n + 1, "file_name": f"{n}.png", "height": 32, "width": 32}
        points = {"point_coords": [[5 + k, 6] for k in range(number)], "point_labels": [1] * number}
        of_image = {"id": n + 1, "image_id": n + 1, "category_id": 1, "bbox": [4, 4, 20, 10]}
        content["images"].append(image)
        content["annotations"].append(of_image | points)
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return prepare(path, folder, folder / "cache")


def _batches(prepared: PreparedSet, number: int, count: int, start: int = 0) -> list[ObjectBatch]:
    choices = Augmentation((32,), 32, 0.0, ((32, 32),))
    plan = TrainPlan([(32, 32)] * 3, range(3), choices, batch_size=1, seed=0)
    points = PointSupervision(number, 0)
    batches = train_batches(prepared, plan, num_threads=1, start=start, points=points)
    return [next(batches) for _ in range(count)]


def test_records_and_batches_carry_points_instead_of_masks(prepared: PreparedSet) -> None:
    assert (prepared.most_points, prepared.lacks_masks) == (4, True)
    batches = _batches(prepared, 4, 3)
    for batch in batches:
        check_shapes(batch)
        assert batch.mask_bits is None
        np.testing.assert_array_equal(batch.boxes, [[[4, 4, 24, 14]]])
        labelled = batch.point_labels[0, 0] >= 0
        np.testing.assert_array_equal(
            batch.point_coords[0, 0, labelled], [(5.5 + k, 6.5) for k in range(labelled.sum())]
        )
    assert sorted((batch.point_labels >= 0).sum() for batch in batches) == [2, 4, 4]


def test_drawn_points_follow_seed_and_position_and_change_with_the_epoch(
    prepared: PreparedSet,
) -> None:
    batches = _batches(prepared, 2, 30)
    (again,) = _batches(prepared, 2, 1, start=17)
    np.testing.assert_array_equal(again.point_coords, batches[17].point_coords)
    assert len({tuple(batch.point_coords[0, 0, :, 0].tolist()) for batch in batches}) > 4


@pytest.mark.parametrize("field", ["point_coords", "point_labels"])
def test_a_batch_with_half_of_the_points_is_told(prepared: PreparedSet, field: str) -> None:
    (batch,) = _batches(prepared, 2, 1)
    with pytest.raises(ValueError, match="either mask_bits, or point_coords and point_labels"):
        check_shapes(batch._replace(**{field: None}))


def test_each_split_of_record_files_says_what_supervises_it(tmp_path: Path) -> None:
    found = {}
    for split, annotation in (
        ("train", {"bbox": [4, 4, 20, 10], "point_coords": [[5, 6]], "point_labels": [1]}),
        ("val", {"bbox": [4, 4, 4, 4], "segmentation": [[4, 4, 8, 4, 8, 8, 4, 8]]}),
    ):
        folder = tmp_path / split
        folder.mkdir()
        Image.new("RGB", (32, 32)).save(folder / "a.png")
        content = {
            "images": [{"id": 1, "file_name": "a.png", "height": 32, "width": 32}],
            "annotations": [annotation | {"id": 1, "image_id": 1, "category_id": 1}],
            "categories": [{"id": 1, "name": "box"}],
        }
        (folder / "a.json").write_text(json.dumps(content))
        found[split] = find(folder / "a.json", folder)
    write_records(object_records("both", found), tmp_path / "records")
    opened = [open_objects(tmp_path / "records", split) for split in ("train", "val")]
    says = [(o.most_points, o.without_points, o.lacks_masks) for o in opened]
    assert says == [(1, 0, True), (0, 1, False)]


def test_points_need_no_sizes_of_masks(prepared: PreparedSet) -> None:
    choices = Augmentation((32,), 2**14, 0.0, ((2**14, 2**14),))
    plan = TrainPlan([(32, 32)] * 300, [0, 1, 2] * 100, choices, batch_size=16, seed=0)
    many = prepared._replace(images=prepared.images * 100)
    (alone,) = slot_sizes(many, plan, PointSupervision(10, 0))
    assert alone == max(slot_sizes(many, plan))
