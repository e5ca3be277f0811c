"""Resize, flip, masks and canvas: by hand, and equal to Detectron2's stored numbers."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointrend_jax.data.batches.transforms import (
    ImageObjects,
    check_buckets,
    choose_bucket,
    pack_masks,
    padded_hw,
    place_image,
    rasterize,
    resize_image,
    resized_hw,
    training_canvases,
    transform_boxes,
    transform_objects,
    transform_polygon,
)
from pointrend_jax.data.images import read_image
from pointrend_jax.masks.bits import pack_mask, resize_mask
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.masks.runs import encode_runs, run_lengths
from tests.shared import shared_path

_IMAGES = (229358, 183709, 231460)


@pytest.fixture
def kit() -> Path:
    return shared_path("parity")


def test_resized_hw_equals_detectron2(kit: Path):
    for row in np.load(kit / "ops/resize.npz")["sizes"].tolist():
        height, width, min_size, max_size, *expected = row
        assert resized_hw((height, width), min_size, max_size) == tuple(expected)


def test_resized_pixels_equal_detectron2(kit: Path):
    golden = np.load(kit / "ops/resize.npz")
    for image_id in _IMAGES:
        image = read_image(kit / f"images/{image_id:012d}.jpg")
        hw = (image.shape[0], image.shape[1])
        # The kit's pixels are BGR.
        short160 = resize_image(image, resized_hw(hw, 160, 1333))[..., ::-1]
        np.testing.assert_array_equal(short160, golden[f"short160_{image_id}"])
        short800 = np.ascontiguousarray(resize_image(image, resized_hw(hw, 800, 1333))[..., ::-1])
        assert zlib.crc32(short800.tobytes()) == golden[f"short800_crc_{image_id}"]


def test_boxes_and_bitmaps_equal_detectron2(kit: Path):
    golden = np.load(kit / "ops/resize.npz")
    old_hw, new_hw = golden["seg_in"].shape, golden["seg_out"].shape
    boxes = transform_boxes(golden["box_in"], old_hw, new_hw, flip=False)
    np.testing.assert_allclose(boxes, golden["box_out"], rtol=1e-12)
    flipped = transform_boxes(golden["box_in"], old_hw, old_hw, flip=True)
    np.testing.assert_allclose(flipped, golden["hflip_box"], rtol=1e-12)
    for value in np.unique(golden["seg_in"]):
        resized = resize_mask(golden["seg_in"] == value, new_hw)
        np.testing.assert_array_equal(resized, golden["seg_out"] == value)


def test_rasterised_polygons_equal_detectron2(kit: Path):
    golden = np.load(kit / "ops/gt_masks.npz")
    content = json.loads((kit / "images/annotations.json").read_text())
    annotations = {a["id"]: a for a in content["annotations"]}
    sizes = {i["id"]: (i["height"], i["width"]) for i in content["images"]}
    for n, ann_id in enumerate(golden["ann_id"].tolist()):
        hw = sizes[int(golden["image_id"][n])]
        mask = rasterize(annotations[ann_id]["segmentation"], hw, hw, flip=False)
        assert encode_mask(mask)["counts"] == str(golden["bitmask_rle"][n])
        assert mask.sum() == golden["area"][n]


def test_resized_hw_of_extreme_shapes_keeps_a_pixel():
    assert resized_hw((1, 10_000), 800, 1333) == (1, 1333)
    assert resized_hw((1, 1), 800, 1333) == (800, 800)


def test_flipped_polygon_is_the_flipped_mask():
    polygon = [[1.0, 1.0, 9.0, 2.0, 5.0, 7.0]]
    mask = rasterize(polygon, (8, 12), (8, 12), flip=False)
    flipped = rasterize(polygon, (8, 12), (8, 12), flip=True)
    # pycocotools rounds halves to one side: a pixel of the outline may differ.
    assert np.logical_xor(mask[:, ::-1], flipped).sum() <= 6
    assert mask.sum() > 15


def test_polygon_is_scaled_before_it_is_rasterised():
    # A 2 x 2 square becomes exactly 20 x 20; resizing its bitmap could not keep a half pixel.
    polygon = [[1.05, 1.0, 3.05, 1.0, 3.05, 3.0, 1.05, 3.0]]
    mask = rasterize(polygon, (4, 5), (40, 50), flip=False)
    assert mask.sum() == 400
    assert np.flatnonzero(mask.any(axis=0))[[0, -1]].tolist() in ([10, 29], [11, 30])


@pytest.mark.parametrize("flip", [False, True])
def test_polygon_and_run_lengths_agree(flip: bool):
    polygon = [[2.0, 1.0, 9.0, 1.0, 9.0, 4.0, 2.0, 4.0]]
    runs = [2 * 8 + 1, *[3, 5] * 6, 3, 3 * 8 + 4]
    hw, new_hw = (8, 12), (24, 36)
    forms = (polygon, encode_runs(runs, hw), encode_mask(rasterize(polygon, hw, hw, flip=False)))
    expected = np.zeros(new_hw, bool)
    expected[3:12, 6:27] = True
    for form in forms:
        mask = rasterize(form, hw, new_hw, flip=flip)
        np.testing.assert_array_equal(mask, expected[:, ::-1] if flip else expected)


def test_bitmap_is_flipped_after_resizing():
    mask = np.zeros((4, 6), bool)
    mask[1, 0] = True
    resized = rasterize(encode_mask(mask), (4, 6), (8, 12), flip=True)
    assert np.argwhere(resized).tolist() == [[2, 10], [2, 11], [3, 10], [3, 11]]


@given(st.lists(st.floats(0, 50), min_size=4, max_size=4), st.integers(1, 60), st.integers(1, 60))
def test_flipping_twice_is_the_identity(corners: list[float], height: int, width: int):
    x0, x1 = sorted(min(c, width) for c in corners[:2])
    y0, y1 = sorted(min(c, height) for c in corners[2:])
    boxes, hw = np.array([[x0, y0, x1, y1]], float), (height, width)
    twice = transform_boxes(transform_boxes(boxes, hw, hw, flip=True), hw, hw, flip=True)
    np.testing.assert_allclose(twice, boxes, atol=1e-12)
    polygon = [x0, y0, x1, y0, x1, y1]
    once = transform_polygon(polygon, hw, hw, flip=True)
    np.testing.assert_allclose(transform_polygon(once, hw, hw, flip=True), polygon, atol=1e-12)


def test_boxes_are_clipped_to_the_resized_image():
    boxes = transform_boxes(np.array([[-5.0, 1.0, 30.0, 9.0]]), (8, 10), (16, 20), flip=False)
    np.testing.assert_array_equal(boxes, [[0.0, 2.0, 20.0, 16.0]])


def test_objects_without_box_or_pixel_are_left_out():
    square = [[2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]]
    sliver = [[2.0, 2.0, 2.001, 2.0, 2.001, 6.0]]
    boxes = np.array([[20.0, 1, 25, 5], [2, 2, 6, 6], [2, 2, 2.001, 6]])
    objects = ImageObjects(boxes, np.array([4, 5, 6]), [square, square, sliver])
    found, classes, masks = transform_objects(objects, (8, 10), (8, 10), flip=False)
    assert classes.tolist() == [5]
    np.testing.assert_array_equal(found, np.array([[2, 2, 6, 6]], np.float32))
    assert [int(mask.sum()) for mask in masks] == [16]


def test_no_objects_give_empty_arrays():
    objects = ImageObjects(np.zeros((0, 4)), np.zeros(0, np.int32), [])
    boxes, classes, masks = transform_objects(objects, (8, 10), (16, 20), flip=True)
    assert boxes.shape == (0, 4)
    assert classes.shape == (0,)
    assert masks == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 60), st.integers(0, 64))
def test_packed_bits_are_the_documented_layout(seed: int, height: int, width: int, edge: int):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    # Objects that fill a window of the image, down to none at all.
    mask[: edge // 2], mask[:, :edge], mask[:, width - edge // 3 :] = False, False, False
    bits = pack_mask(mask, (64, 64))
    y, x = np.mgrid[:64, :64]
    expected = np.zeros((64, 64), bool)
    expected[:height, :width] = mask
    np.testing.assert_array_equal((bits[y, x // 8] >> (x % 8) & 1).astype(bool), expected)


def test_packed_slots_beyond_the_masks_are_zero():
    bits = pack_masks([np.ones((4, 5), bool)], 3, (32, 32))
    assert bits.shape == (3, 32, 4)
    assert bits[0].any()
    assert not bits[1:].any()


def test_image_lies_at_the_top_left_of_its_canvas():
    canvas = place_image(np.full((2, 3, 3), 9, np.uint8), (32, 64))
    assert canvas.shape == (32, 64, 3)
    assert (canvas[:2, :3] == 9).all()
    assert canvas.sum() == 9 * 2 * 3 * 3


def test_bucket_is_the_smallest_that_holds_the_padded_image():
    buckets = ((64, 128), (128, 64), (128, 128))
    assert padded_hw((33, 64)) == (64, 64)
    assert choose_bucket((33, 100), buckets) == (64, 128)
    assert choose_bucket((97, 97), buckets) == (128, 128)
    assert choose_bucket((129, 10), buckets) is None


def test_images_of_an_orientation_may_share_a_canvas_that_no_bucket_is():
    tall, wide, higher = (416, 256), (256, 416), (320, 384)
    assert training_canvases((wide, tall)) == (wide, tall)
    assert training_canvases((wide, tall, higher)) == (wide, tall, higher, (320, 416))
    assert training_canvases((wide,)) == (wide,)


@pytest.mark.parametrize("buckets", [(), ((64, 100),), ((0, 32),)])
def test_bucket_of_broken_cells_is_an_error(buckets: tuple[tuple[int, int], ...]):
    with pytest.raises(ValueError, match="multiples of 32"):
        check_buckets(buckets)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_run_lengths_of_any_mask_are_accepted(seed: int, height: int, width: int):
    rng = np.random.default_rng(seed)
    rle = encode_mask(rng.random((height, width)) < rng.random())
    assert sum(run_lengths(rle["counts"]) or ()) == height * width


@pytest.mark.parametrize("counts", ["\x00", "~~", "P", "ö"])
def test_malformed_run_lengths_are_refused(counts: str):
    assert run_lengths(counts) is None


def test_shrunk_bitmap_takes_the_nearest_pixel():
    # Enlarging a bitmap bilinearly would round to the same; shrinking it would not.
    assert resize_mask(np.array([[True, False, False, True]]), (1, 2)).tolist() == [[False, True]]
    assert resize_mask(np.array([[False, True, False, False]]), (1, 2)).tolist() == [[True, False]]
