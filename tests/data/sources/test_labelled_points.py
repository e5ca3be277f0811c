"""Labelled points instead of masks: read from a file, made of one with masks, and bad ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from pointrend_jax.cli import main
from pointrend_jax.data.sources import annotation_masks as mask_reasons
from pointrend_jax.data.sources import annotations as reasons
from pointrend_jax.data.sources import labelled_points
from pointrend_jax.data.sources.annotations import CocoObject
from pointrend_jax.data.sources.coco import read_coco
from tests.data.sources.coco_files import an_object, two_images, written

NAN = float("nan")


def with_points(number: int = 1, **changes: Any) -> dict[str, Any]:
    """An object with the box 2, 2, 4, 4 and three points instead of a mask."""
    points = {"point_coords": [[3, 3], [5, 2], [4, 4]], "point_labels": [1, 0, 1]}
    return an_object(number, segmentation=None, area=None) | points | changes


def _read(folder: Path, *annotations: dict[str, Any]) -> tuple[list[CocoObject], dict[str, int]]:
    dataset = read_coco(written(folder, two_images(*annotations)), folder)
    return [o for image in dataset.images for o in image.objects], dataset.skipped


def test_points_lie_at_the_centres_of_their_pixels_and_the_box_gives_the_area(tmp_path: Path):
    (found,), skipped = _read(tmp_path, with_points())
    assert found.points == ((3.5, 3.5, 1), (5.5, 2.5, 0), (4.5, 4.5, 1))
    assert (found.segmentation, found.box, found.area, skipped) == ([], (2, 2, 6, 6), 16, {})


def test_an_object_may_have_a_mask_and_points(tmp_path: Path):
    plain, pointed = an_object(1), an_object(2) | {"point_coords": [[3, 3]], "point_labels": [1]}
    (without, found), skipped = _read(tmp_path, plain, pointed)
    assert (found.segmentation, found.points) == (without.segmentation, ((3.5, 3.5, 1),))
    assert (without.points, skipped) == ((), {})


# (what is wrong, the annotation's change, the reason that is counted)
_SKIPS = [
    ("NaN", {"point_coords": [[NAN, 3], [5, 2], [4, 4]]}, labelled_points.BAD_POINTS),
    ("infinity", {"point_coords": [[1e999, 3], [5, 2], [4, 4]]}, labelled_points.BAD_POINTS),
    ("text", {"point_coords": [["3", 3], [5, 2], [4, 4]]}, labelled_points.BAD_POINTS),
    ("triples", {"point_coords": [[3, 3, 2]] * 3}, labelled_points.BAD_POINTS),
    ("a flat list", {"point_coords": [3, 3, 5, 2, 4, 4]}, labelled_points.BAD_POINTS),
    ("fewer labels", {"point_labels": [1, 0]}, labelled_points.BAD_POINTS),
    ("more labels", {"point_labels": [1, 0, 1, 1]}, labelled_points.BAD_POINTS),
    ("no labels", {"point_labels": None}, labelled_points.BAD_POINTS),
    ("no coordinates", {"point_coords": None}, labelled_points.BAD_POINTS),
    ("label 2", {"point_labels": [1, 0, 2]}, labelled_points.BAD_POINTS),
    ("a label in between", {"point_labels": [1, 0, 0.5]}, labelled_points.BAD_POINTS),
    ("label True", {"point_labels": [1, 0, True]}, labelled_points.BAD_POINTS),
    ("no point", {"point_coords": [], "point_labels": []}, reasons.NO_LABELLED_POINT),
    ("ignored points alone", {"point_labels": [-1, -1, -1]}, reasons.NO_LABELLED_POINT),
    ("no box", {"bbox": None}, reasons.POINTS_WITHOUT_BOX),
    ("box without area", {"bbox": [2, 2, 0, 4]}, reasons.POINTS_WITHOUT_BOX),
    ("box of NaN", {"bbox": [NAN, 2, 4, 4]}, reasons.POINTS_WITHOUT_BOX),
    ("box outside", {"bbox": [20, 2, 4, 4]}, reasons.POINTS_WITHOUT_BOX),
]


@pytest.mark.parametrize(("changes", "reason"), [s[1:] for s in _SKIPS], ids=[s[0] for s in _SKIPS])
def test_unusable_points_are_a_counted_skip(changes: dict, reason: str, tmp_path: Path):
    found, skipped = _read(tmp_path, with_points(1), with_points(2, **changes))
    assert [o.id for o in found] == [1]
    assert skipped == {reason: 1}


# (what is odd, the annotation's change, the labels that are left, the reason that is counted)
_IGNORED = [
    (
        "outside the image",
        {"point_coords": [[3, 3], [5, 20], [4, 4]]},
        (1, -1, 1),
        labelled_points.POINTS_OUTSIDE,
    ),
    (
        "on the object but outside its box",
        {"point_coords": [[3, 3], [5, 2], [8, 4]]},
        (1, 0, -1),
        labelled_points.OBJECT_OUTSIDE_BOX,
    ),
    ("box that reaches out", {"bbox": [2, 2, 40, 4]}, (1, 0, 1), reasons.BOX_CLIPPED),
]


@pytest.mark.parametrize(
    ("changes", "labels", "reason"), [r[1:] for r in _IGNORED], ids=[r[0] for r in _IGNORED]
)
def test_points_of_no_use_are_ignored_and_counted(
    changes: dict, labels: tuple, reason: str, tmp_path: Path
):
    (found,), skipped = _read(tmp_path, with_points(**changes))
    assert tuple(point.label for point in found.points) == labels
    assert skipped == {reason: 1}


@pytest.mark.parametrize(
    "changes",
    [{"point_coords": [[3, 3], [9, 6], [4, 4]]}, {"point_labels": [1, -1, 1]}],
    ids=["not on the object and outside its box", "ignored from the start"],
)
def test_points_that_may_be_so_are_kept_without_a_word(changes: dict, tmp_path: Path):
    (found,), skipped = _read(tmp_path, with_points(**changes))
    assert (len(found.points), skipped) == (3, {})


def _made(folder: Path, content: dict[str, Any], *flags: str) -> list[dict[str, Any]]:
    output = folder / "points.json"
    command = ["points", "--annotations", str(written(folder, content)), "--output", str(output)]
    main([*command, *flags])
    return json.loads(output.read_text())["annotations"]


def test_made_points_are_what_the_mask_says_of_pixels_in_the_box(tmp_path: Path):
    # The left half of the box is the object.
    half = an_object(segmentation=[[2, 2, 4, 2, 4, 6, 2, 6]], bbox=[2, 2, 4, 4], area=8)
    (made,) = _made(tmp_path, two_images(half), "--number", "200")
    assert "segmentation" not in made
    assert {tuple(p) for p in made["point_coords"]} == {
        (x, y) for x in range(2, 6) for y in range(2, 6)
    }
    for (x, _), label in zip(made["point_coords"], made["point_labels"], strict=True):
        assert label == int(x < 4)
    found, skipped = _read(tmp_path, made)
    assert (len(found[0].points), skipped) == (200, {})


def test_made_points_follow_seed_and_id_alone(tmp_path: Path):
    one, other = an_object(1), an_object(2)
    both = _made(tmp_path, two_images(one, other))
    (alone,) = _made(tmp_path, two_images(other))
    (of_seed,) = _made(tmp_path, two_images(other), "--seed", "1")
    assert len(alone["point_coords"]) == 10
    assert both[1] == alone
    assert both[0]["point_coords"] != both[1]["point_coords"] != of_seed["point_coords"]


def test_crowds_keep_their_masks_and_unusable_objects_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    crowd, bad = an_object(2, iscrowd=1), an_object(3, segmentation=[[1, 1, 5, 5]])
    made = _made(tmp_path, two_images(an_object(1), crowd, bad))
    assert made[1] == crowd
    assert len(made) == 2
    assert mask_reasons.FEW_POINTS in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        (two_images(an_object()), ["--number", "0"], r"--number must be at least 1"),
        (two_images(an_object()), ["--seed", "-1"], r"--seed 0, got 10 and -1"),
        (two_images(an_object(iscrowd=1)), [], r"must have an object with a mask"),
        (two_images(with_points()), [], r"annotation 1 has no mask to label points by"),
        ({"images": []}, [], r"is not in COCO format"),
    ],
    ids=["no points", "seed below 0", "crowds alone", "points already", "no COCO file"],
)
def test_what_points_cannot_be_made_of_is_told(
    content: dict, flags: list[str], message: str, tmp_path: Path
):
    with pytest.raises(ValueError, match=message):
        _made(tmp_path, content, *flags)


def test_the_file_itself_is_not_written_over(tmp_path: Path):
    path = str(written(tmp_path, two_images(an_object())))
    with pytest.raises(ValueError, match=r"--output must be another file"):
        main(["points", "--annotations", path, "--output", path])
