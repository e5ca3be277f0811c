"""What is wrong with a COCO folder as a whole is found before any work."""

import json
from pathlib import Path
from typing import Any

import pytest

from pointrend_jax.data.sources import annotation_masks as mask_reasons
from pointrend_jax.data.sources.coco import print_findings, read_coco
from pointrend_jax.data.sources.object_set import FoundObjects
from tests.data.sources.coco_files import an_object, two_images, written
from tests.shared import shared_path


def test_a_category_that_only_groups_the_others_is_no_class(tmp_path: Path):
    content = two_images(an_object(), an_object(2, category_id=3))
    for category in content["categories"]:
        category["supercategory"] = "numbers"
    content["categories"].append({"id": 0, "name": "numbers", "supercategory": "none"})
    dataset = read_coco(written(tmp_path, content), tmp_path)
    assert dataset.class_names == ("three", "seven")
    assert [o.label for o in dataset.images[0].objects] == [1, 0]
    (remark,) = dataset.remarks
    assert remark.startswith("category 0 ('numbers') only groups the others")
    # With an object of its own it is a class.
    content["annotations"].append(an_object(3, category_id=0))
    assert len(read_coco(written(tmp_path, content), tmp_path).class_names) == 3
    # Nor does it group what has another supercategory.
    content["annotations"].pop()
    content["categories"][0]["supercategory"] = "others"
    assert len(read_coco(written(tmp_path, content), tmp_path).class_names) == 3


def test_classes_are_contiguous_by_ascending_category_id(tmp_path: Path):
    dataset = read_coco(written(tmp_path, two_images(an_object())), tmp_path)
    assert dataset.category_ids == (3, 7)
    assert dataset.class_names == ("three", "seven")
    assert [image.id for image in dataset.images] == [1, 2]
    assert [o.label for o in dataset.images[0].objects] == [1]
    assert dataset.images[0].objects[0].box == (2.0, 2.0, 6.0, 6.0)
    assert dataset.skipped == {}


def test_crowds_and_equal_names_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = two_images(an_object(1), an_object(2, iscrowd=1), an_object(3, iscrowd=1))
    content["annotations"][2]["image_id"] = 2
    content["categories"].append({"id": 9, "name": "seven"})
    path = written(tmp_path, content)
    print_findings(FoundObjects(read_coco(path, tmp_path), path))
    printed = capsys.readouterr().out
    assert "2 of 3 objects are crowd regions" in printed
    assert "1 images have nothing else. If each is a single object" in printed
    assert "'seven' with the ids [7, 9]" in printed


def test_other_spelling_of_a_file_name_is_found(tmp_path: Path):
    content = two_images(an_object())
    content["images"][1]["file_name"] = "deep\\cafe\u0301.png"
    path = written(tmp_path, content)
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "deep" / "caf\u00e9.png")
    dataset = read_coco(path, tmp_path)
    assert dataset.images[0].file.path == tmp_path / "deep" / "caf\u00e9.png"


def test_a_link_to_an_image_is_not_another_image(tmp_path: Path):
    content = two_images(an_object())
    path = written(tmp_path, content)
    (tmp_path / "b.png").unlink()
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"one id; 1 have several: .*a\.png \(2, 1\)"):
        read_coco(path, tmp_path)


def test_long_names_that_begin_alike_are_two_images(tmp_path: Path):
    content = two_images(an_object())
    folder = "x" * 200
    (tmp_path / folder / folder).mkdir(parents=True)
    for image in content["images"]:
        image["file_name"] = f"{folder}/{folder}/{image['file_name']}"
    path = written(tmp_path / folder / folder, content)
    assert len(read_coco(path, tmp_path).images) == 2


# (what is wrong, the file's content, what the message says)
_ERRORS = [
    ("not JSON", "{", "not valid JSON"),
    ("nested without end", "[" * 100_000, "not valid JSON"),
    ("a list", [], "not in COCO format"),
    ("no annotations key", {"images": [], "categories": []}, '"annotations" is missing'),
    ("no annotation at all", two_images(), "at least one usable annotation"),
    ("crowd only", two_images(an_object(iscrowd=1)), "at least one usable annotation"),
    ("nothing usable", two_images(an_object(segmentation=[])), mask_reasons.NO_SEGMENTATION),
    (
        "shares of the image",
        two_images(
            # An object that reaches out of its image.
            an_object(1, segmentation=[[0.2, 0.2, 1.1, 0.2, 0.6, 0.6]], bbox=[0.2, 0.2, 0.9, 0.4])
        ),
        "coordinates must be pixels, .* all 1 objects are between 0 and 1.5",
    ),
    (
        "one file under two ids",
        two_images(an_object())
        | {
            "images": [
                *two_images()["images"],
                two_images()["images"][1] | {"id": 8, "file_name": "./a.png"},
            ]
        },
        r"one id; 1 have several: .*a\.png \(1, 8\)",
    ),
    (
        "annotation id beyond 64 bits",
        two_images(an_object(2**63)),
        "at most 64 bits; number them",
    ),
    (
        "image id beyond 64 bits",
        two_images(an_object(image_id=2**70)),
        "unknown image_id, which must be an integer of at most 64 bits",
    ),
    (
        "category id beyond 64 bits",
        two_images(an_object()) | {"categories": [{"id": 2**70, "name": "a"}]},
        'category must have an integer "id" of at most 64 bits',
    ),
    (
        "half a character",
        two_images(an_object()) | {"categories": [{"id": 7, "name": "a\ud800"}]},
        'and a "name"',
    ),
    (
        "image id with a point",
        two_images(an_object(image_id=1.0)),
        r"must be an integer .*annotation 1: '1\.0', of type float",
    ),
    ("unknown category", two_images(an_object(category_id=4)), "unknown category_id.*: '4'"),
    ("unknown image", two_images(an_object(image_id=99)), "unknown image_id.*: '99'"),
    ("category id of a list", two_images(an_object(category_id=[7])), "unknown category_id"),
    (
        "repeated annotation id",
        two_images(an_object(5), an_object(5)),
        "unique; 1 repeat, the first is 5",
    ),
    ("annotation without id", two_images(an_object(None)), 'must have an integer "id"'),  # type: ignore[arg-type]
    (
        "repeated image id",
        two_images(an_object()) | {"images": [two_images()["images"][0]] * 2},
        "image ids.*unique; 1 repeat, the first is 2",
    ),
    ("no categories", two_images(an_object()) | {"categories": []}, '"categories"'),
    (
        "id of text",
        two_images(an_object()) | {"images": [two_images()["images"][1] | {"id": "1"}]},
        'integer "id"',
    ),
    (
        "image of no height",
        two_images(an_object()) | {"images": [two_images()["images"][1] | {"height": 0}]},
        'positive integer "height"',
    ),
    (
        "image too large to decode",
        two_images(an_object()) | {"images": [two_images()["images"][1] | {"height": 10**9}]},
        "and at most .* pixels",
    ),
    (
        "image without size",
        two_images(an_object()) | {"images": [{"id": 1, "file_name": "a.png"}]},
        'positive integer "height"',
    ),
    (
        "missing image file",
        two_images(an_object())
        | {"images": [{"id": 1, "file_name": "gone.png", "height": 8, "width": 10}]},
        r"1 of 1 image files are missing: .*gone\.png",
    ),
]


@pytest.mark.parametrize(
    ("content", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_unusable_file_is_an_error_that_says_why(content: Any, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        read_coco(written(tmp_path, content), tmp_path)


def test_missing_annotation_file_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match=r"absent\.json cannot be read"):
        read_coco(tmp_path / "absent.json", tmp_path)


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
    content = {k: v for k, v in two_images().items() if k != "annotations"} | annotations
    path = written(tmp_path, content)
    dataset = read_coco(path, tmp_path, may_lack_annotations=True)
    assert all(image.objects == () for image in dataset.images)
    with pytest.raises(ValueError, match="annotation"):
        read_coco(path, tmp_path)
