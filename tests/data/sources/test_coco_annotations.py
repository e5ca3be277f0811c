"""Every annotation is read exactly, repaired where one reading is certain, or a counted skip."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.data.sources import annotation_masks as mask_reasons
from pointrend_jax.data.sources import annotations as reasons
from pointrend_jax.data.sources.annotations import parse_annotation
from pointrend_jax.data.sources.coco import print_findings, read_coco
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.masks.polygons import enclosed_area
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.masks.runs import decode_rle
from tests.data.sources.coco_files import SQUARE, an_object, two_images, written
from tests.shared import shared_path

# (what is wrong, the annotation's change, the reason that is counted)
_SKIPS = [
    (
        "box and outline without area",
        {"bbox": [2, 2, 0, 4], "segmentation": [[2, 2, 2, 6, 2, 4]]},
        reasons.NO_AREA,
    ),
    ("outline outside", {"bbox": None, "segmentation": [[20, 2, 24, 2, 24, 6]]}, reasons.NO_AREA),
    ("polygon of NaN", {"segmentation": [[1, 1, 5, float("nan"), 5, 5]]}, mask_reasons.BAD_NUMBERS),
    ("polygon beyond floats", {"segmentation": [[10**400] * 6]}, mask_reasons.BAD_NUMBERS),
    ("polygon far out", {"segmentation": [[1, 1, 1e9, 1, 5, 5]]}, mask_reasons.POLYGON_FAR_OUTSIDE),
    (
        "polygon that scribbles",
        {"segmentation": [[0, 0, 9, 7] * 200]},
        mask_reasons.OUTLINE_TOO_LONG,
    ),
    ("segmentation of text", {"segmentation": "2 2 6 2 6 6"}, mask_reasons.BAD_SEGMENTATION),
    ("RLE in a list", {"segmentation": [{"size": [8, 10]}]}, mask_reasons.BAD_SEGMENTATION),
    ("polygons too deep", {"segmentation": [[[[2, 2], [6, 2], [6, 6]]]]}, mask_reasons.BAD_NUMBERS),
    ("RLE without counts", {"segmentation": {"size": [8, 10]}}, mask_reasons.BAD_COUNTS),
    (
        "RLE of half a pixel",
        {"segmentation": {"size": [8, 10], "counts": [10.5, 5, 64.5]}},
        mask_reasons.BAD_COUNTS,
    ),
    (
        "RLE of Python's bytes",
        {"segmentation": {"size": [8, 10], "counts": "b'04'"}},
        mask_reasons.BAD_COUNTS,
    ),
    ("crowd of text", {"iscrowd": "0"}, reasons.BAD_CROWD),
    (
        # 10, 5 and 65, the last with ten groups of zero bits that the decoder has no room for.
        "compressed RLE of a number too long",
        {"segmentation": {"size": [8, 10], "counts": ":5QR" + "P" * 10 + "0"}},
        mask_reasons.BAD_COUNTS,
    ),
    ("no segmentation", {"segmentation": []}, mask_reasons.NO_SEGMENTATION),
    ("empty polygon", {"segmentation": [[]]}, mask_reasons.FEW_POINTS),
    ("two-point polygon", {"segmentation": [[1, 1, 5, 5]]}, mask_reasons.FEW_POINTS),
    ("polygon of text", {"segmentation": [["x"] * 6]}, mask_reasons.BAD_NUMBERS),
    (
        "wrong RLE size",
        {"segmentation": {"size": [10, 8], "counts": [10, 5, 65]}},
        mask_reasons.WRONG_RLE_SIZE,
    ),
    (
        "RLE too long",
        {"segmentation": {"size": [8, 10], "counts": [10, 500, 65]}},
        mask_reasons.BAD_RLE,
    ),
    (
        "compressed RLE too short",
        {"segmentation": {"size": [8, 10], "counts": "04"}},
        mask_reasons.BAD_RLE,
    ),
    (
        "RLE without a pixel",
        {"segmentation": {"size": [8, 10], "counts": [80]}},
        mask_reasons.EMPTY_MASK,
    ),
]


@pytest.mark.parametrize(("changes", "reason"), [s[1:] for s in _SKIPS], ids=[s[0] for s in _SKIPS])
def test_unusable_annotation_is_a_counted_skip(
    changes: dict[str, Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = written(tmp_path, two_images(an_object(1), an_object(2, **changes)))
    dataset = read_coco(path, tmp_path)
    assert dataset.skipped == {reason: 1}
    assert [o.id for image in dataset.images for o in image.objects] == [1]
    print_findings(FoundObjects(dataset, path))
    assert f"1 {reason}" in capsys.readouterr().out


# (what is odd, the annotation's change, the reason that is counted)
_REPAIRS = [
    ("box of nothing", {"bbox": []}, reasons.BAD_BOX),
    ("box of text", {"bbox": ["a", 2, 4, 4]}, reasons.BAD_BOX),
    ("box not finite", {"bbox": [float("nan"), 2, 4, 4]}, reasons.BAD_BOX),
    ("box of no list", {"bbox": "abc"}, reasons.BAD_BOX),
    ("box beyond floats", {"bbox": [10**400, 1, 2, 3]}, reasons.BAD_BOX),
    ("box of zero area", {"bbox": [2, 2, 0, 4]}, reasons.ZERO_AREA_BOX),
    ("box outside", {"bbox": [20, 2, 4, 4]}, reasons.BOX_OUTSIDE),
    ("box elsewhere", {"bbox": [6, 4, 4, 4]}, reasons.BOX_ELSEWHERE),
    ("box of shares", {"bbox": [0.2, 0.25, 0.4, 0.5]}, reasons.BOX_ELSEWHERE),
    ("area of text", {"area": "16"}, reasons.AREA_REPLACED),
    ("area below 0", {"area": -1}, reasons.AREA_REPLACED),
    ("area of 0", {"area": 0}, reasons.AREA_CONTRADICTS),
    ("area beyond the image", {"area": 1e12}, reasons.AREA_CONTRADICTS),
    ("flat polygon", {"segmentation": SQUARE}, mask_reasons.POLYGON_REREAD),
    (
        "list of points",
        {"segmentation": [[2.0, 2.0], [6.0, 2.0], [6.0, 6.0], [2.0, 6.0]]},
        mask_reasons.POLYGON_REREAD,
    ),
    (
        "polygons of points",
        {"segmentation": [[[2.0, 2.0], [6.0, 2.0], [6.0, 6.0], [2.0, 6.0]]]},
        mask_reasons.POLYGON_REREAD,
    ),
]


@pytest.mark.parametrize(
    ("changes", "reason"), [r[1:] for r in _REPAIRS], ids=[r[0] for r in _REPAIRS]
)
def test_odd_annotation_is_read_as_the_plain_one_and_counted(
    changes: dict[str, Any], reason: str, tmp_path: Path
):
    plain = read_coco(written(tmp_path, two_images(an_object())), tmp_path)
    dataset = read_coco(written(tmp_path, two_images(an_object(**changes))), tmp_path)
    assert dataset.skipped == {reason: 1}
    assert dataset.images == plain.images


@pytest.mark.parametrize(
    "changes",
    [
        {"bbox": [1, 1, 6, 5]},
        {"bbox": [0.5, 2, 4, 4]},
        {"area": 4.0},
        {"area": 64},
        # A line has no area, and pixels all the same.
        {"segmentation": [[2.0, 2.0, 6.0, 6.0, 2.0, 2.0]], "area": 0.0},
        {"iscrowd": 1, "area": 70.0},
    ],
)
def test_what_may_be_so_is_kept_to_the_last_digit(changes: dict[str, Any], tmp_path: Path):
    path = written(tmp_path, two_images(an_object(1, **changes), an_object(2)))
    dataset = read_coco(path, tmp_path)
    found, given = dataset.images[0].objects[0], an_object(**changes)
    assert dataset.skipped == {}
    assert (found.bbox, found.area) == (tuple(given["bbox"]), given["area"])


def test_outline_has_a_bound_in_an_image_of_any_size():
    report: Counter = Counter()
    # 90 kB that would take GiB to rasterise.
    across = an_object(segmentation=[[0, 0, 9000, 9000] * 2000])
    assert parse_annotation(across, (9000, 9000), 0, report) is None
    assert report == {mask_reasons.OUTLINE_TOO_LONG: 1}


def test_polygons_enclose_their_areas():
    triangle = [10.0, 0.0, 13.0, 0.0, 10.0, 4.0]
    # In either direction.
    assert enclosed_area([SQUARE, triangle[::-1]]) == 16.0 + 6.0


def test_run_lengths_with_a_decimal_point_are_read_and_counted(tmp_path: Path):
    rle = {"size": [8.0, 10.0], "counts": [18.0, 4.0, 58.0]}
    path = written(tmp_path, two_images(an_object(bbox=[2, 2, 1, 4], area=4, segmentation=rle)))
    dataset = read_coco(path, tmp_path)
    assert dataset.skipped == {mask_reasons.RUNS_REREAD: 1}
    segmentation = dataset.images[0].objects[0].segmentation
    assert isinstance(segmentation, dict)
    assert np.argwhere(decode_rle(segmentation)).tolist() == [[y, 2] for y in range(2, 6)]


def test_box_partly_outside_is_clipped_and_scored_unclipped(tmp_path: Path):
    path = written(tmp_path, two_images(an_object(bbox=[-3, 2, 9, 20])))
    dataset = read_coco(path, tmp_path)
    assert dataset.images[0].objects[0].box == (0.0, 2.0, 6.0, 8.0)
    assert dataset.skipped == {reasons.BOX_CLIPPED: 1}
    assert dataset.images[0].objects[0].bbox == (-3.0, 2.0, 9.0, 20.0)


def test_missing_box_and_area_come_from_the_segmentation(tmp_path: Path):
    annotation = an_object()
    del annotation["bbox"], annotation["area"]
    dataset = read_coco(written(tmp_path, two_images(annotation)), tmp_path)
    assert dataset.images[0].objects[0].box == (2.0, 2.0, 6.0, 6.0)
    assert dataset.images[0].objects[0].bbox == (2.0, 2.0, 4.0, 4.0)
    assert dataset.images[0].objects[0].area == 16.0


def test_polygon_keeps_its_good_parts(tmp_path: Path):
    path = written(tmp_path, two_images(an_object(segmentation=[[1, 1, 2, 2], SQUARE])))
    dataset = read_coco(path, tmp_path)
    assert dataset.images[0].objects[0].segmentation == [SQUARE]
    assert dataset.skipped == {mask_reasons.PART_DROPPED: 1}


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths_become_the_same_mask(compressed: bool, tmp_path: Path):
    mask = np.zeros((8, 10), bool)
    mask[1:7, 2:9] = True
    mask[3:5, 4:6] = False
    columns = mask.T.ravel().astype(np.int8)
    borders = np.flatnonzero(np.diff(columns, prepend=0)).tolist()
    runs = np.diff([0, *borders, mask.size]).tolist()
    rle = encode_mask(mask) if compressed else {"size": [8, 10], "counts": runs}
    dataset = read_coco(written(tmp_path, two_images(an_object(segmentation=rle))), tmp_path)
    segmentation = dataset.images[0].objects[0].segmentation
    assert isinstance(segmentation, dict)
    np.testing.assert_array_equal(decode_rle(segmentation), mask)


def test_crowd_run_lengths_equal_the_reference():
    kit = shared_path("parity")
    golden = np.load(kit / "ops/crowd_rle.npz")
    dataset = read_coco(kit / "images/annotations.json", kit / "images")
    objects = {o.id: o for image in dataset.images for o in image.objects}
    crowd = objects[int(golden["ann_id"][0])]
    assert crowd.is_crowd
    assert crowd.segmentation == {
        "size": golden["hw"][0].tolist(),
        "counts": str(golden["counts"][0]),
    }
    assert isinstance(crowd.segmentation, dict)
    # The golden area is the mask's; the file's own, which the scores use, is another.
    assert decode_rle(crowd.segmentation).sum() == golden["area"][0] != crowd.area


def test_crowd_is_kept_and_marked(tmp_path: Path):
    content = two_images(an_object(1), an_object(2, iscrowd=1))
    dataset = read_coco(written(tmp_path, content), tmp_path)
    assert [o.is_crowd for o in dataset.images[0].objects] == [False, True]
