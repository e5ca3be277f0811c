"""What is wrong with a COCO folder is found before any work: an error, or a counted skip."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.sources import annotations as reasons
from pointrend_jax.data.sources.annotations import parse_annotation
from pointrend_jax.data.sources.coco import print_findings, read_coco
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.masks.polygons import enclosed_area
from pointrend_jax.masks.rle import decode_rle, encode_mask
from tests.shared import shared_path

_SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]


def _annotation(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": 1,
        "category_id": 7,
        "bbox": [2, 2, 4, 4],
        "area": 16.0,
        "iscrowd": 0,
        "segmentation": [_SQUARE],
    } | changes


def _content(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [
            {"id": 2, "file_name": "b.png", "height": 8, "width": 10},
            {"id": 1, "file_name": "a.png", "height": 8, "width": 10},
        ],
        "categories": [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}],
        "annotations": list(annotations),
    }


def _write(folder: Path, content: Any) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (10, 8)).save(folder / name)
    path = folder / "annotations.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_category_that_only_groups_the_others_is_no_class(tmp_path: Path):
    content = _content(_annotation(), _annotation(2, category_id=3))
    for category in content["categories"]:
        category["supercategory"] = "numbers"
    content["categories"].append({"id": 0, "name": "numbers", "supercategory": "none"})
    dataset = read_coco(_write(tmp_path, content), tmp_path)
    assert dataset.class_names == ("three", "seven")
    assert [o.label for o in dataset.images[0].objects] == [1, 0]
    (remark,) = dataset.remarks
    assert remark.startswith("category 0 ('numbers') only groups the others")
    # With an object of its own it is a class.
    content["annotations"].append(_annotation(3, category_id=0))
    assert len(read_coco(_write(tmp_path, content), tmp_path).class_names) == 3
    # Nor does it group what has another supercategory.
    content["annotations"].pop()
    content["categories"][0]["supercategory"] = "others"
    assert len(read_coco(_write(tmp_path, content), tmp_path).class_names) == 3


def test_classes_are_contiguous_by_ascending_category_id(tmp_path: Path):
    dataset = read_coco(_write(tmp_path, _content(_annotation())), tmp_path)
    assert dataset.category_ids == (3, 7)
    assert dataset.class_names == ("three", "seven")
    assert [image.id for image in dataset.images] == [1, 2]
    assert [o.label for o in dataset.images[0].objects] == [1]
    assert dataset.images[0].objects[0].box == (2.0, 2.0, 6.0, 6.0)
    assert dataset.skipped == {}


# (what is wrong, the annotation's change, the reason that is counted)
_SKIPS = [
    (
        "box and outline without area",
        {"bbox": [2, 2, 0, 4], "segmentation": [[2, 2, 2, 6, 2, 4]]},
        reasons.NO_AREA,
    ),
    ("outline outside", {"bbox": None, "segmentation": [[20, 2, 24, 2, 24, 6]]}, reasons.NO_AREA),
    ("polygon of NaN", {"segmentation": [[1, 1, 5, float("nan"), 5, 5]]}, reasons.BAD_NUMBERS),
    ("polygon beyond floats", {"segmentation": [[10**400] * 6]}, reasons.BAD_NUMBERS),
    ("polygon far out", {"segmentation": [[1, 1, 1e9, 1, 5, 5]]}, reasons.POLYGON_FAR_OUTSIDE),
    ("polygon that scribbles", {"segmentation": [[0, 0, 9, 7] * 200]}, reasons.OUTLINE_TOO_LONG),
    ("segmentation of text", {"segmentation": "2 2 6 2 6 6"}, reasons.BAD_SEGMENTATION),
    ("RLE in a list", {"segmentation": [{"size": [8, 10]}]}, reasons.BAD_SEGMENTATION),
    ("polygons too deep", {"segmentation": [[[[2, 2], [6, 2], [6, 6]]]]}, reasons.BAD_NUMBERS),
    ("RLE without counts", {"segmentation": {"size": [8, 10]}}, reasons.BAD_COUNTS),
    (
        "RLE of half a pixel",
        {"segmentation": {"size": [8, 10], "counts": [10.5, 5, 64.5]}},
        reasons.BAD_COUNTS,
    ),
    (
        "RLE of Python's bytes",
        {"segmentation": {"size": [8, 10], "counts": "b'04'"}},
        reasons.BAD_COUNTS,
    ),
    ("crowd of text", {"iscrowd": "0"}, reasons.BAD_CROWD),
    (
        # 10, 5 and 65, the last with ten groups of zero bits that the decoder has no room for.
        "compressed RLE of a number too long",
        {"segmentation": {"size": [8, 10], "counts": ":5QR" + "P" * 10 + "0"}},
        reasons.BAD_COUNTS,
    ),
    ("no segmentation", {"segmentation": []}, reasons.NO_SEGMENTATION),
    ("empty polygon", {"segmentation": [[]]}, reasons.FEW_POINTS),
    ("two-point polygon", {"segmentation": [[1, 1, 5, 5]]}, reasons.FEW_POINTS),
    ("polygon of text", {"segmentation": [["x"] * 6]}, reasons.BAD_NUMBERS),
    (
        "wrong RLE size",
        {"segmentation": {"size": [10, 8], "counts": [10, 5, 65]}},
        reasons.WRONG_RLE_SIZE,
    ),
    (
        "RLE too long",
        {"segmentation": {"size": [8, 10], "counts": [10, 500, 65]}},
        reasons.BAD_RLE,
    ),
    (
        "compressed RLE too short",
        {"segmentation": {"size": [8, 10], "counts": "04"}},
        reasons.BAD_RLE,
    ),
    (
        "RLE without a pixel",
        {"segmentation": {"size": [8, 10], "counts": [80]}},
        reasons.EMPTY_MASK,
    ),
]


@pytest.mark.parametrize(("changes", "reason"), [s[1:] for s in _SKIPS], ids=[s[0] for s in _SKIPS])
def test_unusable_annotation_is_a_counted_skip(
    changes: dict[str, Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = _write(tmp_path, _content(_annotation(1), _annotation(2, **changes)))
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
    ("flat polygon", {"segmentation": _SQUARE}, reasons.POLYGON_REREAD),
    (
        "list of points",
        {"segmentation": [[2.0, 2.0], [6.0, 2.0], [6.0, 6.0], [2.0, 6.0]]},
        reasons.POLYGON_REREAD,
    ),
    (
        "polygons of points",
        {"segmentation": [[[2.0, 2.0], [6.0, 2.0], [6.0, 6.0], [2.0, 6.0]]]},
        reasons.POLYGON_REREAD,
    ),
]


@pytest.mark.parametrize(
    ("changes", "reason"), [r[1:] for r in _REPAIRS], ids=[r[0] for r in _REPAIRS]
)
def test_odd_annotation_is_read_as_the_plain_one_and_counted(
    changes: dict[str, Any], reason: str, tmp_path: Path
):
    plain = read_coco(_write(tmp_path, _content(_annotation())), tmp_path)
    dataset = read_coco(_write(tmp_path, _content(_annotation(**changes))), tmp_path)
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
    path = _write(tmp_path, _content(_annotation(1, **changes), _annotation(2)))
    dataset = read_coco(path, tmp_path)
    found, given = dataset.images[0].objects[0], _annotation(**changes)
    assert dataset.skipped == {}
    assert (found.bbox, found.area) == (tuple(given["bbox"]), given["area"])


def test_outline_has_a_bound_in_an_image_of_any_size():
    report: Counter = Counter()
    # 90 kB that would take GiB to rasterise.
    across = _annotation(segmentation=[[0, 0, 9000, 9000] * 2000])
    assert parse_annotation(across, (9000, 9000), 0, report) is None
    assert report == {reasons.OUTLINE_TOO_LONG: 1}


def test_polygons_enclose_their_areas():
    triangle = [10.0, 0.0, 13.0, 0.0, 10.0, 4.0]
    # In either direction.
    assert enclosed_area([_SQUARE, triangle[::-1]]) == 16.0 + 6.0


def test_run_lengths_with_a_decimal_point_are_read_and_counted(tmp_path: Path):
    rle = {"size": [8.0, 10.0], "counts": [18.0, 4.0, 58.0]}
    path = _write(tmp_path, _content(_annotation(bbox=[2, 2, 1, 4], area=4, segmentation=rle)))
    dataset = read_coco(path, tmp_path)
    assert dataset.skipped == {reasons.RUNS_REREAD: 1}
    segmentation = dataset.images[0].objects[0].segmentation
    assert isinstance(segmentation, dict)
    assert np.argwhere(decode_rle(segmentation)).tolist() == [[y, 2] for y in range(2, 6)]


def test_crowds_and_equal_names_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = _content(_annotation(1), _annotation(2, iscrowd=1), _annotation(3, iscrowd=1))
    content["annotations"][2]["image_id"] = 2
    content["categories"].append({"id": 9, "name": "seven"})
    path = _write(tmp_path, content)
    print_findings(FoundObjects(read_coco(path, tmp_path), path))
    printed = capsys.readouterr().out
    assert "2 of 3 objects are crowd regions" in printed
    assert "1 images have nothing else. If each is a single object" in printed
    assert "'seven' with the ids [7, 9]" in printed


def test_other_spelling_of_a_file_name_is_found(tmp_path: Path):
    content = _content(_annotation())
    content["images"][1]["file_name"] = "deep\\cafe\u0301.png"
    path = _write(tmp_path, content)
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "deep" / "caf\u00e9.png")
    dataset = read_coco(path, tmp_path)
    assert dataset.images[0].file.path == tmp_path / "deep" / "caf\u00e9.png"


def test_a_link_to_an_image_is_not_another_image(tmp_path: Path):
    content = _content(_annotation())
    path = _write(tmp_path, content)
    (tmp_path / "b.png").unlink()
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"one id; 1 have several: .*a\.png \(2, 1\)"):
        read_coco(path, tmp_path)


def test_long_names_that_begin_alike_are_two_images(tmp_path: Path):
    content = _content(_annotation())
    folder = "x" * 200
    (tmp_path / folder / folder).mkdir(parents=True)
    for image in content["images"]:
        image["file_name"] = f"{folder}/{folder}/{image['file_name']}"
    path = _write(tmp_path / folder / folder, content)
    assert len(read_coco(path, tmp_path).images) == 2


# (what is wrong, the file's content, what the message says)
_ERRORS = [
    ("not JSON", "{", "not valid JSON"),
    ("nested without end", "[" * 100_000, "not valid JSON"),
    ("a list", [], "not in COCO format"),
    ("no annotations key", {"images": [], "categories": []}, '"annotations" is missing'),
    ("no annotation at all", _content(), "at least one usable annotation"),
    ("crowd only", _content(_annotation(iscrowd=1)), "at least one usable annotation"),
    ("nothing usable", _content(_annotation(segmentation=[])), reasons.NO_SEGMENTATION),
    (
        "shares of the image",
        _content(
            # An object that reaches out of its image.
            _annotation(1, segmentation=[[0.2, 0.2, 1.1, 0.2, 0.6, 0.6]], bbox=[0.2, 0.2, 0.9, 0.4])
        ),
        "coordinates must be pixels, .* all 1 objects are between 0 and 1.5",
    ),
    (
        "one file under two ids",
        _content(_annotation())
        | {
            "images": [
                *_content()["images"],
                _content()["images"][1] | {"id": 8, "file_name": "./a.png"},
            ]
        },
        r"one id; 1 have several: .*a\.png \(1, 8\)",
    ),
    ("annotation id beyond 64 bits", _content(_annotation(2**63)), "at most 64 bits; number them"),
    (
        "image id beyond 64 bits",
        _content(_annotation(image_id=2**70)),
        "unknown image_id, which must be an integer of at most 64 bits",
    ),
    (
        "category id beyond 64 bits",
        _content(_annotation()) | {"categories": [{"id": 2**70, "name": "a"}]},
        'category must have an integer "id" of at most 64 bits',
    ),
    (
        "half a character",
        _content(_annotation()) | {"categories": [{"id": 7, "name": "a\ud800"}]},
        'and a "name"',
    ),
    (
        "image id with a point",
        _content(_annotation(image_id=1.0)),
        r"must be an integer .*annotation 1: '1\.0', of type float",
    ),
    ("unknown category", _content(_annotation(category_id=4)), "unknown category_id.*: '4'"),
    ("unknown image", _content(_annotation(image_id=99)), "unknown image_id.*: '99'"),
    ("category id of a list", _content(_annotation(category_id=[7])), "unknown category_id"),
    (
        "repeated annotation id",
        _content(_annotation(5), _annotation(5)),
        "unique; 1 repeat, the first is 5",
    ),
    ("annotation without id", _content(_annotation(None)), 'must have an integer "id"'),  # type: ignore[arg-type]
    (
        "repeated image id",
        _content(_annotation()) | {"images": [_content()["images"][0]] * 2},
        "image ids.*unique; 1 repeat, the first is 2",
    ),
    ("no categories", _content(_annotation()) | {"categories": []}, '"categories"'),
    (
        "id of text",
        _content(_annotation()) | {"images": [_content()["images"][1] | {"id": "1"}]},
        'integer "id"',
    ),
    (
        "image of no height",
        _content(_annotation()) | {"images": [_content()["images"][1] | {"height": 0}]},
        'positive integer "height"',
    ),
    (
        "image too large to decode",
        _content(_annotation()) | {"images": [_content()["images"][1] | {"height": 10**9}]},
        "and at most .* pixels",
    ),
    (
        "image without size",
        _content(_annotation()) | {"images": [{"id": 1, "file_name": "a.png"}]},
        'positive integer "height"',
    ),
    (
        "missing image file",
        _content(_annotation())
        | {"images": [{"id": 1, "file_name": "gone.png", "height": 8, "width": 10}]},
        r"1 of 1 image files are missing: .*gone\.png",
    ),
]


@pytest.mark.parametrize(
    ("content", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_unusable_file_is_an_error_that_says_why(content: Any, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        read_coco(_write(tmp_path, content), tmp_path)


def test_missing_annotation_file_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match=r"absent\.json cannot be read"):
        read_coco(tmp_path / "absent.json", tmp_path)


def test_box_partly_outside_is_clipped_and_scored_unclipped(tmp_path: Path):
    path = _write(tmp_path, _content(_annotation(bbox=[-3, 2, 9, 20])))
    dataset = read_coco(path, tmp_path)
    assert dataset.images[0].objects[0].box == (0.0, 2.0, 6.0, 8.0)
    assert dataset.skipped == {reasons.BOX_CLIPPED: 1}
    assert dataset.images[0].objects[0].bbox == (-3.0, 2.0, 9.0, 20.0)


def test_missing_box_and_area_come_from_the_segmentation(tmp_path: Path):
    annotation = _annotation()
    del annotation["bbox"], annotation["area"]
    dataset = read_coco(_write(tmp_path, _content(annotation)), tmp_path)
    assert dataset.images[0].objects[0].box == (2.0, 2.0, 6.0, 6.0)
    assert dataset.images[0].objects[0].bbox == (2.0, 2.0, 4.0, 4.0)
    assert dataset.images[0].objects[0].area == 16.0


def test_polygon_keeps_its_good_parts(tmp_path: Path):
    path = _write(tmp_path, _content(_annotation(segmentation=[[1, 1, 2, 2], _SQUARE])))
    dataset = read_coco(path, tmp_path)
    assert dataset.images[0].objects[0].segmentation == [_SQUARE]
    assert dataset.skipped == {reasons.PART_DROPPED: 1}


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths_become_the_same_mask(compressed: bool, tmp_path: Path):
    mask = np.zeros((8, 10), bool)
    mask[1:7, 2:9] = True
    mask[3:5, 4:6] = False
    columns = mask.T.ravel().astype(np.int8)
    borders = np.flatnonzero(np.diff(columns, prepend=0)).tolist()
    runs = np.diff([0, *borders, mask.size]).tolist()
    rle = encode_mask(mask) if compressed else {"size": [8, 10], "counts": runs}
    dataset = read_coco(_write(tmp_path, _content(_annotation(segmentation=rle))), tmp_path)
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
    content = _content(_annotation(1), _annotation(2, iscrowd=1))
    dataset = read_coco(_write(tmp_path, content), tmp_path)
    assert [o.is_crowd for o in dataset.images[0].objects] == [False, True]


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("coco-mini/annotations/instances_train2017.json", "coco-mini/train2017"),
        ("coco-mini/annotations/instances_val2017.json", "coco-mini/val2017"),
        ("pennfudan/annotations/instances_val.json", "pennfudan/images/val"),
        ("pennfudan/annotations/instances_train_polygons.json", "pennfudan/images/train"),
    ],
)
def test_real_sets_are_kept_to_the_last_digit(annotations: str, images: str):
    path = shared_path(f"data/{annotations}")
    dataset = read_coco(path, shared_path(f"data/{images}"))
    assert dataset.skipped == {}
    of_file = {a["id"]: a for a in json.loads(path.read_text())["annotations"]}
    found = [o for image in dataset.images for o in image.objects]
    assert len(found) == len(of_file)
    for item in found:
        assert (list(item.bbox), item.area) == (of_file[item.id]["bbox"], of_file[item.id]["area"])


@pytest.mark.parametrize("annotations", [{}, {"annotations": []}])
def test_a_test_set_needs_no_annotations_where_it_may_lack_them(annotations: dict, tmp_path: Path):
    content = {k: v for k, v in _content().items() if k != "annotations"} | annotations
    path = _write(tmp_path, content)
    dataset = read_coco(path, tmp_path, may_lack_annotations=True)
    assert all(image.objects == () for image in dataset.images)
    with pytest.raises(ValueError, match="annotation"):
        read_coco(path, tmp_path)
