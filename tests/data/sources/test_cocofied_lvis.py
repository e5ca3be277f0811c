"""Of an LVIS file the categories of COCO, with their COCO ids, everywhere that an id stands."""

import json
from pathlib import Path

import pytest

from pointrend_jax.data.sources.categories import COCO, COCO_IDS
from pointrend_jax.data.sources.cocofied_lvis import COCO_SYNSETS, cocofy, read_cocofied_lvis
from pointrend_jax.data.sources.lvis import load_lvis
from tests.data.lvis_files import category, content, write
from tests.shared import shared_path

_PERSON, _COW = 1, 21


def test_only_objects_of_coco_stay_and_are_numbered_anew(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    result = cocofy(load_lvis(path, "val2017"), path)
    # Annotation 5 was an acorn.
    ids = [(a["id"], a["image_id"], a["category_id"]) for a in result["annotations"]]
    assert ids == [(1, 10, _COW), (2, 20, _COW)]


def test_every_image_stays_and_its_lists_have_coco_ids(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    result = cocofy(load_lvis(path, "val2017"), path)
    assert [i["id"] for i in result["images"]] == [30, 10, 20]
    assert [i["neg_category_ids"] for i in result["images"]] == [[], [], [_PERSON]]
    assert [i["not_exhaustive_category_ids"] for i in result["images"]] == [[], [_COW], []]


def test_classes_are_those_of_a_coco_model(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    dataset = read_cocofied_lvis(path, tmp_path, "val2017", tmp_path / "cache").dataset
    assert dataset.class_names == COCO
    assert dataset.category_ids == COCO_IDS
    # A cow is common and a person frequent in the file; an airplane is not in it.
    assert dict(zip(COCO_IDS, dataset.frequencies, strict=True)) == (
        dict.fromkeys(COCO_IDS, "r") | {_COW: "c", _PERSON: "f"}
    )
    assert [o.label for image in dataset.images for o in image.objects] == [COCO.index("cow")] * 2


def test_ids_names_and_synsets_of_coco_belong_together() -> None:
    content = json.loads(
        shared_path("data/coco-mini/annotations/instances_val2017.json").read_text()
    )
    named = {c["id"]: c["name"] for c in content["categories"]}
    assert named == dict(zip(COCO_IDS, COCO, strict=True))
    # What a synset is called by another name, and so might stand elsewhere.
    synsets = dict(zip(COCO, COCO_SYNSETS, strict=True))
    assert synsets["hot dog"] == "frank.n.02"
    assert synsets["handbag"] == "bag.n.04"
    assert synsets["suitcase"] == "bag.n.06"
    assert synsets["potted plant"] == "pot.n.04"
    assert synsets["couch"] == "sofa.n.01"
    # All others have a word of their name, of its other spelling or its longer form.
    others = {
        *("cow", "fire hydrant", "hot dog", "handbag", "suitcase", "potted plant", "couch"),
        *("tv", "cell phone", "hair drier", "donut", "tie", "wine glass", "skis"),
    }
    for name, synset in synsets.items():
        word = synset.split(".")[0]
        assert name in others or any(part in word for part in name.split()), (name, synset)


def test_annotation_file_is_made_once_for_the_same_content(tmp_path: Path) -> None:
    path, cache = write(tmp_path, content()), tmp_path / "cache"
    first = read_cocofied_lvis(path, tmp_path, "val2017", cache).annotations
    written = first.stat().st_mtime_ns
    assert read_cocofied_lvis(path, tmp_path, "val2017", cache).annotations == first
    assert first.stat().st_mtime_ns == written
    changed = content()
    changed["images"][0]["neg_category_ids"] = [2]
    write(tmp_path, changed)
    assert read_cocofied_lvis(path, tmp_path, "val2017", cache).annotations != first
    assert len(json.loads(first.read_text())["categories"]) == 80


def test_file_without_synsets_is_an_error(tmp_path: Path) -> None:
    changed = content()
    del changed["categories"][1]["synset"]
    path = write(tmp_path, changed)
    with pytest.raises(ValueError, match=r'lvis\.json: every category must have a "synset"'):
        cocofy(load_lvis(path, "val2017"), path)


def test_file_without_a_category_of_coco_is_an_error(tmp_path: Path) -> None:
    categories = [category(i, f"acorn.n.0{i}", "r") for i in (1, 2, 3)]
    path = write(tmp_path, content(categories=categories))
    with pytest.raises(ValueError, match=r'"synset" \("person.n.01"\); none of its 3 is'):
        cocofy(load_lvis(path, "val2017"), path)


def test_two_categories_of_one_synset_are_an_error(tmp_path: Path) -> None:
    categories = [category(i, "beef.n.01", "r") for i in (1, 2, 3)]
    path = write(tmp_path, content(categories=categories))
    with pytest.raises(ValueError, match=r"synset 'beef.n.01', the second is category 2"):
        cocofy(load_lvis(path, "val2017"), path)
