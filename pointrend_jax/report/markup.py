"""HTML and SVG as trees of elements, so that whatever comes from data is text and never markup."""

import base64
import io
from xml.etree import ElementTree

import numpy as np
from PIL import Image

Element = ElementTree.Element
# A child that is None is none.
Child = Element | str | None

_JPEG_QUALITY = 88


def element(tag: str, *children: Child, **attributes: str | float | None) -> Element:
    """An element with its attributes, of which those that are None are left out.

    Args:
      attributes: a name that Python keeps for itself ends in "_" (class_), and "_" within a name
        stands for "-" (stroke_width).
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    made = Element(tag, {name: str(value) for name, value in named.items() if value is not None})
    for child in children:
        if isinstance(child, str):
            _add_text(made, child)
        elif child is not None:
            made.append(child)
    return made


def to_html(root: Element) -> bytes:
    """The document as UTF-8; half of a character, which a name may have, as its number."""
    return b"<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="utf-8", method="html")


def picture(pixels: np.ndarray, description: str, *, longest: int) -> Element:
    """An image within the page.

    Args:
      pixels: uint8 RGB [H, W, 3].
      description: for whoever cannot see it.
      longest: the side, in pixels, that a larger image is brought to.
    """
    image, content = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((longest, longest))
    image.save(content, "JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(content.getvalue()).decode("ascii")
    width, height = image.size
    source = f"data:image/jpeg;base64,{data}"
    return element("img", src=source, alt=description, width=width, height=height)


def _add_text(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text
