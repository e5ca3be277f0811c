"""Overlays as SVG and PDF: a path for each object over the photo."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.visualize import OverlayStyle, save_vector_labels, save_vector_overlay

_SVG = "{http://www.w3.org/2000/svg}"
_IMAGE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
_BOXES = np.array([[20, 30, 60, 70], [100, 40, 140, 60]], np.float32)
# The first with a hole.
_SQUARE = np.array([(20, 30), (60, 30), (60, 70), (20, 70)], float)
_HOLE = np.array([(30, 40), (30, 60), (50, 60), (50, 40)], float)
_MASKS = [[[_SQUARE, _HOLE]], [[np.array([(100, 40), (140, 40), (120, 60)], float)]]]


def _save(path: Path, style: OverlayStyle) -> bytes:
    scores = np.array([0.9, 0.8], np.float32)
    save_vector_overlay(path, _IMAGE, _BOXES, _MASKS, ["gear", "cog"], scores, style=style)
    return path.read_bytes()


def _paths(root: ElementTree.Element, named: str) -> dict[str, list[ElementTree.Element]]:
    """The paths of each group whose name begins so."""
    return {
        group.attrib["id"]: group.findall(f"{_SVG}path")
        for group in root.iter(f"{_SVG}g")
        if group.attrib.get("id", "").startswith(named)
    }


def _numbers(path: ElementTree.Element) -> np.ndarray:
    return np.array(re.findall(r"-?[\d.]+", path.attrib["d"]), float).reshape(-1, 2)


def test_an_svg_file_has_a_path_for_each_object_and_the_photo(tmp_path: Path):
    text = _save(tmp_path / "x.svg", OverlayStyle(scale=2))
    root = ElementTree.fromstring(text)
    assert root.attrib["viewBox"] == "0 0 320 240"
    paths = _paths(root, "object-")
    assert {name: len(found) for name, found in paths.items()} == {"object-0": 1, "object-1": 1}
    # Twice the image's coordinates, the ring of the hole behind that of its part.
    (square,) = paths["object-0"]
    corners = {tuple(corner) for corner in _numbers(square)}
    assert corners == {tuple(2 * corner) for ring in (_SQUARE, _HOLE) for corner in ring}
    (photo,) = root.iter(f"{_SVG}image")
    assert photo.attrib["{http://www.w3.org/1999/xlink}href"].startswith("data:image/png;base64")
    # The same picture, the same bytes.
    assert _save(tmp_path / "y.svg", OverlayStyle(scale=2)) == text


def test_boxes_and_colours_of_a_vector_picture_follow_the_style(tmp_path: Path):
    assert b'id="box-1"' in _save(tmp_path / "x.svg", OverlayStyle())
    assert b'id="box-1"' not in _save(tmp_path / "x.svg", OverlayStyle(boxes=False))


def test_a_pdf_file_is_a_page_of_the_pictures_size(tmp_path: Path):
    text = _save(tmp_path / "x.pdf", OverlayStyle())
    assert text.startswith(b"%PDF-")
    assert b"/MediaBox [ 0 0 160 120 ]" in text
    assert _save(tmp_path / "y.pdf", OverlayStyle()) == text


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match=r"pip install 'pointrend_jax\[plot\]'"):
        _save(tmp_path / "x.svg", OverlayStyle())
    assert not (tmp_path / "x.svg").exists()


_LABELS = np.zeros((120, 160), np.uint8)
_LABELS[40:80, 60:120] = 1
_LABELS[50:70, 80:100] = 0  # A hole in the second class, filled by the first.
_LABELS[110:] = 255
_NAMES = ("field", "pond", "road")


def test_a_label_map_is_an_area_for_each_class_with_a_legend_of_text(tmp_path: Path):
    save_vector_labels(tmp_path / "x.svg", _IMAGE, _LABELS, _NAMES, scale=2)
    text = (tmp_path / "x.svg").read_bytes()
    root = ElementTree.fromstring(text)
    areas = _paths(root, "class-")
    # A class that does not occur has none.
    assert {name: len(found) for name, found in areas.items()} == {"class-0": 1, "class-1": 1}
    (pond,) = areas["class-1"]
    # From the outer corner of its first pixel to that of its last, at twice the size; corners of
    # smoothed stairs are rounded.
    corners = _numbers(pond)
    np.testing.assert_allclose(corners.min(0), [120, 80], atol=0.5)
    np.testing.assert_allclose(corners.max(0), [240, 160], atol=0.5)
    assert pond.attrib["d"].count("M") == 2
    # The photo's height and the legend's.
    width, height = (float(side) for side in root.attrib["viewBox"].split()[2:])
    assert width == 320
    assert height > 240
    save_vector_labels(tmp_path / "y.svg", _IMAGE, _LABELS, _NAMES, scale=2)
    assert (tmp_path / "y.svg").read_bytes() == text


def test_labels_of_another_size_are_refused_before_a_file_is_written(tmp_path: Path):
    with pytest.raises(ValueError, match="must have the size of the image"):
        save_vector_labels(tmp_path / "x.pdf", _IMAGE, _LABELS[:-1], _NAMES)
    assert not (tmp_path / "x.pdf").exists()


def test_letters_that_no_font_has_are_told_in_our_words_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    # Of private use, so no font of these machines has them; a warning would be an error here.
    gear, pond = "gear \U000f1234", "pond \U000f1234"
    for kind in ("svg", "pdf"):
        path = tmp_path / f"x.{kind}"
        save_vector_overlay(path, _IMAGE, _BOXES[:1], _MASKS[:1], [gear], np.ones(1, np.float32))
        save_vector_labels(path, _IMAGE, _LABELS, ("field", pond, "road"))
    told = capsys.readouterr().err
    assert told.count("\n") == 2
    assert "all letters of 'gear " in told
    assert "all letters of 'pond " in told
