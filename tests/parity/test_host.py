"""What is compared on the host, where the package itself has no such function."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.compare import Absent, LeftOut, Row
from parity.host import rasterize_within_box
from parity.kit import read_pixels
from parity.run import fact_results, op_results


def test_polygon_within_a_box_is_in_the_frame_of_the_box():
    polygon = [[10.0, 20.0, 30.0, 20.0, 30.0, 60.0, 10.0, 60.0]]
    mask = rasterize_within_box(polygon, np.array([0.0, 20.0, 40.0, 100.0], np.float32), 4)
    assert np.argwhere(mask).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


@pytest.mark.parametrize(
    ("operation", "arrays", "missing"),
    [
        ("crowd_rle", {"ann_id": [1]}, "images/annotations.json"),
        ("gt_masks", {"ann_id": [1]}, "images/annotations.json"),
        (
            "resize",
            {"sizes": [[60, 80, 30, 40, 30, 40]], "decoded_crc_7": 1},
            "images/000000000007.jpg",
        ),
    ],
)
def test_photos_that_a_kit_does_not_hold_leave_a_part_out(
    operation: str, arrays: dict[str, Any], missing: str, tmp_path: Path
):
    (tmp_path / "ops").mkdir()
    written: Any = {name: np.array(values) for name, values in arrays.items()}
    np.savez(tmp_path / "ops" / operation, **written)
    *rows, left_out = op_results(tmp_path, "")
    assert all(isinstance(row, Row) and row.passed for row in rows)
    assert left_out == LeftOut(operation, f"operation: the kit holds no {missing}")


def test_scores_without_their_annotations_and_inputs_without_their_pixels_are_left_out(
    tmp_path: Path,
):
    (tmp_path / "coco_eval.json").write_text("{}")
    expected = LeftOut("coco_eval", "scores: the kit holds no images/annotations.json")
    assert list(fact_results(tmp_path)) == [expected]
    with pytest.raises(Absent, match="inputs/7_60x80"):
        read_pixels(tmp_path, 7, (60, 80), 1)
