"""What an LVIS file says beside its objects is kept for scoring; what is wrong with it is found."""

from pathlib import Path
from typing import Any

import pytest

from pointrend_jax.data.sources.lvis import read_lvis
from tests.data.lvis_files import annotation, category, content, image, write
from tests.shared import shared_path


def test_lists_and_frequencies_come_with_the_objects(tmp_path: Path) -> None:
    dataset = read_lvis(write(tmp_path, content()), tmp_path, "val2017")
    assert dataset.category_ids == (1, 2, 3)
    assert dataset.class_names == ("acorn of LVIS", "beef of LVIS", "person of LVIS")
    assert dataset.frequencies == ("r", "c", "f")
    assert [image.id for image in dataset.images] == [10, 20, 30]
    assert [image.neg_category_ids for image in dataset.images] == [(), (1, 3), ()]
    assert [image.not_exhaustive_category_ids for image in dataset.images] == [(2,), (), ()]
    assert [len(image.objects) for image in dataset.images] == [2, 1, 0]


def test_images_lie_in_the_folder_of_their_own_url(tmp_path: Path) -> None:
    dataset = read_lvis(write(tmp_path, content()), tmp_path, "elsewhere")
    paths = [image.file.path.relative_to(tmp_path).as_posix() for image in dataset.images]
    assert paths == [
        "train2017/000000000010.jpg",
        "val2017/000000000020.jpg",
        "val2017/000000000030.jpg",
    ]


@pytest.mark.parametrize("name", ["COCO_val2014_000000000020.jpg", "000000000020.jpg"])
def test_names_of_version_half_are_those_of_the_2017_folder(name: str, tmp_path: Path) -> None:
    old = image(20, "", file_name=name)
    del old["coco_url"]
    path = write(tmp_path, content(annotation(1, 20, 2), images=[old]))
    dataset = read_lvis(path, tmp_path, "val2017")
    assert dataset.images[0].file.path == tmp_path / "val2017/000000000020.jpg"


# (what is wrong, the file's changes, what the message says)
_ERRORS = [
    (
        "COCO file",
        {"categories": [{"id": i, "name": str(i)} for i in (1, 2, 3)]},
        r'"frequency" "r", "c" or "f"; 3 have another or none, .* category 1: None.*\'coco\'',
    ),
    (
        "unknown frequency",
        {"categories": [category(1, "a.n.01", "r"), category(2, "b.n.01", "often")]},
        r"1 have another or none, .* category 2: 'often'",
    ),
    (
        "no negative list",
        {"images": [image(10, "train2017/000000000010.jpg", neg_category_ids=None)]},
        r'the list "neg_category_ids"; 1 have none, .* image 10',
    ),
    (
        "no list of what is not exhaustive",
        {"images": [image(10, "train2017/000000000010.jpg", not_exhaustive_category_ids=3)]},
        r'the list "not_exhaustive_category_ids"; 1 have none, .* image 10',
    ),
    (
        "unknown negative category",
        {"images": [image(10, "train2017/000000000010.jpg", neg_category_ids=[1, 8])]},
        r'1 entries of "neg_category_ids" are no category of the file, .* image 10: 8',
    ),
    (
        "category in words",
        {"images": [image(10, "train2017/000000000010.jpg", not_exhaustive_category_ids=["a"])]},
        r'of "not_exhaustive_category_ids" are no category of the file, .* image 10: \'a\'',
    ),
    (
        "negative category with an object",
        {"images": [image(10, "train2017/000000000010.jpg", neg_category_ids=[1, 2])]},
        r"1 categories are annotated on an image .* image 10: 2; remove one of the two",
    ),
    (
        "neither name nor address",
        {"images": [image(10, "", coco_url=None)]},
        r'lvis\.json: every image must have a "file_name"',
    ),
    (
        "address without a folder",
        {"images": [image(10, "", coco_url="000000000010.jpg")]},
        r'every image must have a "file_name"',
    ),
    (
        "address that leads out",
        {"images": [image(10, "../000000000010.jpg")]},
        r'every image must have a "file_name"',
    ),
    (
        "image file missing",
        {"images": [image(10, "test2017/000000000010.jpg")]},
        r"1 of 1 image files are missing: .*test2017/000000000010\.jpg",
    ),
    (
        "unknown category",
        {"annotations": [annotation(4, 10, 6)]},
        "unknown category_id.*annotation 4: '6'",
    ),
]


@pytest.mark.parametrize(
    ("changes", "message"), [e[1:] for e in _ERRORS], ids=[e[0] for e in _ERRORS]
)
def test_unusable_file_is_an_error_that_says_why(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    data = content(annotation(1, 10, 2), **changes) if "annotations" not in changes else content()
    with pytest.raises(ValueError, match=message):
        read_lvis(write(tmp_path, data | changes), tmp_path, "val2017")


def test_set_in_the_layout_of_version_one_is_read() -> None:
    root = shared_path("data/coco-mini")
    path = shared_path("data/lvis-style/lvis_style_val.json")
    dataset = read_lvis(path, root, "val2017")
    assert (len(dataset.images), len(dataset.class_names)) == (94, 80)
    assert sum(len(image.objects) for image in dataset.images) == 846
    assert [dataset.frequencies.count(f) for f in "rcf"] == [21, 49, 10]
    assert {len(image.neg_category_ids) for image in dataset.images} == {20}
    assert sum(bool(image.not_exhaustive_category_ids) for image in dataset.images) == 10
