"""Outlines as SVG writes them: for the page, which draws them at any zoom, and for files."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from pointrend_jax.masks.outlines import Polygon


def path_data(polygons: Iterable[Polygon]) -> dict[str, str]:
    """The `d` of two paths of one mask.

    Returns: "fill", closed polygons; "stroke", their edges without the slits that join a hole to
      the outline around it, which enclose nothing and are not to be seen.
    """
    fill, stroke = [], []
    for polygon in polygons:
        corners = [f"{x:.2f} {y:.2f}" for x, y in polygon]
        fill.append(f"M{'L'.join(corners)}Z")
        edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
        walked, drawing = set(edges), False
        for start, end in edges:
            if (end, start) in walked:
                drawing = False
                continue
            stroke.append(f"L{end}" if drawing else f"M{start}L{end}")
            drawing = True
    return {"fill": "".join(fill), "stroke": "".join(stroke)}


def svg_file(image_hw: tuple[int, int], objects: Sequence[dict[str, Any]]) -> bytes:
    """A picture of the outlines alone, in pixels of the image, with a title for each.

    Args:
      objects: each with "class_name", "score", "color" and the "rendered" paths of `path_data`.
    """
    height, width = image_hw
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">'
    ]
    for item in objects:
        red, green, blue = item["color"]
        color = f"#{red:02x}{green:02x}{blue:02x}"
        title = escape(f"{item['class_name']} {item['score']:.2f}")
        paths = item["rendered"]
        lines.append(
            f'<g><title>{title}</title><path d="{paths["fill"]}" fill="{color}" '
            f'fill-opacity="0.4" fill-rule="evenodd"/><path d="{paths["stroke"]}" fill="none" '
            f'stroke="{color}" stroke-width="1"/></g>'
        )
    return "\n".join([*lines, "</svg>", ""]).encode()
