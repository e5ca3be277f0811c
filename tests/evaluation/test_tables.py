"""The table says what was gained; the file is written whole or not at all."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from pointrend_jax.evaluation.coco import STAT_NAMES
from pointrend_jax.evaluation.lvis import LVIS_STAT_NAMES
from pointrend_jax.evaluation.tables import format_results, format_semantic_results, percent
from pointrend_jax.storage import write_json


def _results(
    rendered: float | None, coarse: float | None, names: Sequence[str] = STAT_NAMES
) -> dict:
    def side(value: float | None) -> dict:
        return {f"{kind}_{name}": value for kind in ("mask", "boundary") for name in names}

    box = {f"box_{name}": 0.5 for name in names}
    results = {"rendered": side(rendered), "coarse": side(coarse), "box": box}
    return results | _by_class({"cat": rendered}, {"cat": coarse})


def _by_class(rendered: dict, coarse: dict) -> dict:
    return {"rendered_mask_ap_by_class": rendered, "coarse_mask_ap_by_class": coarse}


def test_table_shows_both_and_the_gain():
    lines = format_results(_results(0.4567, 0.4)).splitlines()
    assert lines[0].split() == ["coarse", "rendered", "gain"]
    rows = {line[:16].strip(): line[16:].split() for line in lines[1:-1]}
    assert rows["mask AP"] == ["40.0", "45.7", "+5.7"]
    assert rows["boundary AP75"] == ["40.0", "45.7", "+5.7"]
    assert lines[-1] == "box AP 50.0   AP50 50.0   AP75 50.0"


@pytest.mark.parametrize(("number", "shown"), [(30, 30), (31, 0)])
def test_classes_have_a_row_each_where_they_are_few(number: int, shown: int):
    results = _results(0.4567, 0.4)
    names = [f"class {i}" for i in range(number)]
    results |= _by_class(dict.fromkeys(names, 0.3), dict.fromkeys(names, 0.1))
    lines = [line for line in format_results(results).splitlines() if "mask AP class" in line]
    assert len(lines) == shown
    assert all(line.split()[-3:] == ["10.0", "30.0", "+20.0"] for line in lines)


def test_a_class_may_be_called_like_a_score():
    results = _results(0.4567, 0.4) | _by_class({"mask_ap": 0.3}, {"mask_ap": 0.1})
    rows = [line.split() for line in format_results(results).splitlines()]
    assert ["mask", "AP", "40.0", "45.7", "+5.7"] in rows
    assert ["mask", "AP", "mask_ap", "10.0", "30.0", "+20.0"] in rows


def test_ap_with_more_detections_than_coco_counts_has_a_row():
    results = _results(0.4, 0.4)
    for source in ("rendered", "coarse"):
        results[source]["mask_ap_max300"] = 0.9
    assert "mask AP@300          90.0      90.0    +0.0" in format_results(results)


def test_lvis_table_has_rare_common_and_frequent_categories():
    results = _results(0.4567, 0.4, LVIS_STAT_NAMES)
    results["rendered"]["mask_ap_rare"] = None
    lines = format_results(results).splitlines()
    rows = {line[:16].strip(): line[16:].split() for line in lines[1:-1]}
    assert rows["mask APr"] == ["40.0", "-", "-"]
    assert rows["mask APf"] == rows["boundary APc"] == ["40.0", "45.7", "+5.7"]
    assert rows["mask AR@300"] == ["40.0", "45.7", "+5.7"]
    assert lines[-1] == "box AP 50.0   AP50 50.0   AP75 50.0"


def test_a_difference_below_the_last_digit_is_no_loss():
    assert percent(-0.0004, sign=True) == "+0.0"
    assert percent(-0.0006, sign=True) == "-0.1"


def test_undefined_number_is_a_dash():
    table = format_results(_results(None, None))
    assert "mask AP small           -         -       -" in table


def test_semantic_table_has_scores_then_classes():
    scores = {"miou": 0.5, "iiou": None, "pixel_accuracy": 0.9, "boundary_iou": 0.25}
    results = {
        "rendered": scores | {"trimap_miou_4": 0.4},
        "coarse": scores | {"trimap_miou_4": 0.35},
        "rendered_iou": {"traffic light": 0.3, "sky": None},
        "coarse_iou": {"traffic light": 0.4, "sky": 0.0},
    }
    assert format_semantic_results(results).splitlines() == [
        "                     coarse  rendered    gain",
        "mIoU                   50.0      50.0    +0.0",
        "iIoU                      -         -       -",
        "pixel accuracy         90.0      90.0    +0.0",
        "boundary IoU           25.0      25.0    +0.0",
        "trimap 4 px            35.0      40.0    +5.0",
        "IoU traffic light      40.0      30.0   -10.0",
        "IoU sky                 0.0         -       -",
    ]


def test_json_is_replaced_whole(tmp_path: Path):
    path = tmp_path / "run" / "results.json"
    write_json(path, {"a": 1})
    write_json(path, {"b": None})
    assert json.loads(path.read_text()) == {"b": None}
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": math.nan})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_folder_that_cannot_be_written_is_named(tmp_path: Path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(ValueError, match=r"Cannot write .*results\.json"):
        write_json(blocker / "results.json", {})
