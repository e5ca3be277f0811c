"""Typefaces of the texts in pictures, and what is done about letters that one lacks.

Pillow's own typeface looks the same on every machine and has Latin letters without accents. A text
with other letters is drawn in the installed typeface that lacks fewest of them.
"""

import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from PIL import ImageFont

from pointrend_jax.console import tell_progress
from pointrend_jax.messages import first

# Tried in this order, in the folders of fonts that the system has: common ones of Linux, macOS and
# Windows, those with many scripts before those with few.
INSTALLED: tuple[str, ...] = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansKR-Regular.otf",
    "NanumGothic.ttf", "wqy-microhei.ttc", "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf",
    "Arial Unicode.ttf", "AppleSDGothicNeo.ttc", "PingFang.ttc", "segoeui.ttf", "malgun.ttf",
    "msyh.ttc", "msgothic.ttc", "Nirmala.ttf",
)  # fmt: skip
_HINT = (
    "install a font that has them (for Chinese, Japanese and Korean fonts-noto-cjk or fonts-nanum, "
    "for others fonts-noto-core, as Debian calls them), or name one: --font FILE, in Python "
    "font=FILE"
)

# A file, the name of an installed typeface, or None for Pillow's own.
_Source = Path | str | None

_SIZE = 14  # px, at which letters are looked at


def typeface(text: str, size: int, file: Path | None = None) -> ImageFont.FreeTypeFont:
    """What a text is drawn in: `file`, Pillow's own, or an installed one that lacks fewer letters.

    Args:
      size: pixels.
    Raises: ValueError if the file is no font, or Pillow cannot draw any.
    """
    return _font(_source(text, file), size)


def check_font(file: Path | None) -> None:
    """Raises ValueError if `file` is no font."""
    _font(file, _SIZE)


# The texts that were told to lack letters, with the font. Several threads may draw.
_TOLD: set[tuple[str, Path | None]] = set()
_telling = threading.Lock()


def tell_missing_letters(texts: Iterable[str], file: Path | None) -> None:
    """Says once which texts no font here has all letters of; the others are drawn as boxes."""
    with _telling:
        new = [text for text in dict.fromkeys(texts) if (text, file) not in _TOLD]
        lacking = [text for text in new if _missing(_source(text, file), text)]
        _TOLD.update((text, file) for text in lacking)
    if lacking:
        tell_progress(
            f"no font was found with all letters of {first(lacking, 8)}; pictures show a box for "
            f"each that lacks: {_HINT}"
        )


@cache
def _source(text: str, file: Path | None) -> _Source:
    """The first of the typefaces that lack fewest letters of the text, beginning with `file`."""
    if not _missing(file, text):
        return file
    sources = [file, *(name for name in INSTALLED if _is_there(name))]
    return min(sources, key=lambda source: _missing(source, text))


@cache
def _is_there(name: str) -> bool:
    try:
        ImageFont.truetype(name, _SIZE)
    except OSError:
        return False
    return True


@cache
def _font(source: _Source, size: int) -> ImageFont.FreeTypeFont:
    try:
        face = ImageFont.load_default(size) if source is None else ImageFont.truetype(source, size)
    except OSError as error:
        raise ValueError(
            f"the font {source} cannot be read ({error}); give a TrueType or OpenType file."
        ) from error
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise ValueError("Pillow was built without FreeType; install a build that has it.")
    return face


@cache
def _missing(source: _Source, text: str) -> int:
    """How many letters of the text the typeface has not."""
    face = _font(source, _SIZE)
    # No font has a letter at this place, so this is what it draws where it has none.
    box = _pixels(face, "\U0010ffff")
    return sum(_pixels(face, letter) == box for letter in text if letter.strip())


def _pixels(face: ImageFont.FreeTypeFont, letter: str) -> bytes:
    # The stubs of Pillow know its images in memory by name only.
    mask: Any = face.getmask(letter)
    return bytes(mask)
