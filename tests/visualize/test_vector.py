"""Overlays as SVG and PDF: a path for each object over the photo."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.visualize import OverlayStyle, save_vector_overlay

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


def _numbers(path: ElementTree.Element) -> np.ndarray:
    return np.array(re.findall(r"-?[\d.]+", path.attrib["d"]), float).reshape(-1, 2)


def test_an_svg_file_has_a_path_for_each_object_and_the_photo(tmp_path: Path):
    text = _save(tmp_path / "x.svg", OverlayStyle(scale=2))
    root = ElementTree.fromstring(text)
    assert root.attrib["viewBox"] == "0 0 320 240"
    paths = {
        group.attrib["id"]: group.findall(f"{_SVG}path")
        for group in root.iter(f"{_SVG}g")
        if group.attrib.get("id", "").startswith("object-")
    }
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
