"""What is no usable ground truth is refused with the annotation's id."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointrend_jax.evaluation.ground_truth import load_ground_truth, true_mask
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.masks.runs import decode_rle
from tests.evaluation.scenes import HEIGHT, WIDTH, annotation, ellipse, ground_truth

MASK = ellipse((30, 30), (10, 6))


def _with(**changes: Any) -> dict[str, Any]:
    return ground_truth([{**annotation(41, 1, 3, MASK), **changes}], 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 9}, "unknown image_id.* annotation 41: '9'"),
        ({"category_id": 9}, "unknown category_id.* annotation 41: '9'"),
        ({"segmentation": []}, "Annotation 41 must have polygons"),
        ({"segmentation": [[]]}, "Annotation 41 must have polygons"),
        ({"segmentation": [[1, 1, 5, 5]]}, "at least three points"),
        ({"segmentation": None}, "at least three points"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, r"RLE of size \[60, 80\]"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [81]}}, r"RLE of size \[60, 80\]"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "11"}}, r"RLE of size \[60, 80\]"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "~"}}, "whose counts fill it"),
    ],
)
def test_bad_annotation_is_refused_by_id(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        load_ground_truth(_with(**changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, 'the ground truth is not in COCO format: .* "categories" is missing'),
        ({**ground_truth([], 1), "images": [{"id": 1}]}, 'positive integer "height"'),
        (
            {**ground_truth([], 1), "images": ground_truth([], 1)["images"] * 2},
            "image ids of the ground truth must be unique; 1 repeat, the first is 1",
        ),
    ],
)
def test_other_content_is_refused(content: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        load_ground_truth(content)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_file_that_is_no_json_object_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "instances.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"instances\.json"):
        load_ground_truth(path)


def test_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"none\.json cannot be read"):
        load_ground_truth(tmp_path / "none.json")


def test_all_kinds_of_segmentation_are_read(tmp_path: Path):
    square = np.zeros((HEIGHT, WIDTH), np.bool_)
    square[4:10, 2:8] = True
    flat = square.ravel(order="F").astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(edges, prepend=0, append=flat.size).tolist()
    kinds = [
        [[2, 4, 8, 4, 8, 10, 2, 10]],
        {"size": [HEIGHT, WIDTH], "counts": runs},
        encode_mask(square),
    ]
    # Numbers from 0, and neither area, box nor iscrowd: other tools write such files.
    annotations = [
        {"id": i, "image_id": 1, "category_id": 3, "segmentation": kind}
        for i, kind in enumerate(kinds)
    ]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(ground_truth(annotations, 1)))
    loaded: Any = load_ground_truth(path).dataset["annotations"]
    assert [record["id"] for record in loaded] == [1, 2, 3]
    for record in loaded:
        np.testing.assert_array_equal(decode_rle(record["segmentation"]), square)
        assert record["area"] == 36
        assert record["bbox"] == [2, 4, 6, 6]
        assert record["iscrowd"] == 0


def test_source_is_left_as_it_was():
    source = _with()
    before = json.dumps(source)
    load_ground_truth(source)
    assert json.dumps(source) == before


def test_the_true_mask_is_the_object_of_the_class_that_is_overlapped_most():
    other, far = ellipse((30, 34), (10, 6)), ellipse((60, 30), (9, 9))
    truth = load_ground_truth(
        ground_truth([annotation(1, 1, 3, other), annotation(2, 1, 3, MASK),
                      annotation(3, 1, 7, MASK), annotation(4, 1, 3, far)], 1)
    )  # fmt: skip

    def found(mask: np.ndarray, category: int) -> np.ndarray | None:
        rle = true_mask(truth, 1, {"category_id": category, "segmentation": encode_mask(mask)})
        return None if rle is None else decode_rle(rle)

    np.testing.assert_array_equal(found(MASK, 3), MASK)
    np.testing.assert_array_equal(found(other, 3), other)
    # None of the class there, another class, and another image size.
    assert found(ellipse((10, 50), (5, 5)), 3) is None
    assert found(MASK, 1) is None
    assert found(MASK[:, :40], 3) is None
