"""Outlines as SVG writes them: whole, without slits, with names that cannot break out."""

import xml.etree.ElementTree as ElementTree

import numpy as np

from pointrend_jax.explore.outlines import path_data, svg_file
from pointrend_jax.masks.outlines import joined

SQUARE = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
HOLE = np.array([[1.0, 1.0], [1.0, 2.0], [2.0, 2.0]])


def test_a_polygon_is_filled_and_its_edges_are_drawn_once():
    paths = path_data([SQUARE])
    assert paths["fill"] == "M0.00 0.00L4.00 0.00L4.00 4.00L0.00 4.00Z"
    assert paths["stroke"] == "M0.00 0.00L4.00 0.00L4.00 4.00L0.00 4.00L0.00 0.00"


def test_the_slit_to_a_hole_is_filled_along_and_not_drawn():
    paths = path_data([joined([SQUARE, HOLE])])
    # There and back from the corner (0, 0) to the hole's (1, 1).
    assert "L1.00 1.00L0.00 0.00" in paths["fill"]
    assert "M0.00 0.00L1.00 1.00" not in paths["stroke"]
    assert "1.00 1.00L0.00 0.00" not in paths["stroke"]
    edges = paths["stroke"].count("L")
    assert edges == len(SQUARE) + len(HOLE)


def test_an_empty_mask_has_empty_paths():
    assert path_data([]) == {"fill": "", "stroke": ""}


def test_the_file_is_svg_of_the_image_s_size_whatever_classes_are_called():
    thing = {"class_name": '<b>&"', "score": 0.5, "color": (255, 152, 0)}
    root = ElementTree.fromstring(svg_file((20, 30), [thing | {"rendered": path_data([SQUARE])}]))
    assert root.attrib["viewBox"] == "0 0 30 20"
    space = "{http://www.w3.org/2000/svg}"
    (group,) = root
    assert group.findtext(f"{space}title") == '<b>&" 0.50'
    fill, stroke = group.findall(f"{space}path")
    assert (fill.attrib["fill"], stroke.attrib["stroke"]) == ("#ff9800", "#ff9800")
