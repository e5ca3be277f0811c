"""Typefaces: one of the user's, one that is installed where letters lack, and what is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageFont

from pointrend_jax.visualize import OverlayStyle, fonts, overlay_labels, overlay_masks

_MASK = np.zeros((60, 90), np.bool_)
_MASK[20:30, 30:60] = True
_GREY = np.full((60, 90, 3), 128, np.uint8)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As on a machine without fonts; what was found before is forgotten, here and afterwards."""
    caches = (fonts._source, fonts._is_there, fonts._font, fonts._missing)
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(fonts, "INSTALLED", ())
    yield monkeypatch
    for cache in caches:
        cache.cache_clear()


def _install(monkeypatch: pytest.MonkeyPatch, name: str | Path, but: str = "") -> None:
    """Pillow's own typeface, larger and with every letter but some, stands for one of that name."""
    own, missing = ImageFont.truetype, fonts._missing

    def truetype(source: Any, size: float, **options: Any) -> Any:
        return ImageFont.load_default(size + 5) if source == name else own(source, size, **options)

    monkeypatch.setattr(ImageFont, "truetype", truetype)
    monkeypatch.setattr(
        fonts, "_missing",
        lambda source, text: (
            sum(letter in but for letter in text) if source == name else missing(source, text)
        ),
    )  # fmt: skip


def test_letters_that_no_font_has_are_told_once_with_the_classes(
    nothing_installed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    names = ("行人", "cat", "дом 🏠")
    for _ in range(2):
        overlay_masks(_GREY, None, [_MASK], names[:1], np.ones(1))
        overlay_labels(_GREY, _MASK.astype(np.uint8), names)
    told = capsys.readouterr().err
    assert told.count("\n") == 2
    assert "all letters of 行人; pictures show a box for each that lacks" in told
    assert "all letters of дом 🏠; pictures show a box for each that lacks" in told
    assert "fonts-noto-cjk" in told
    assert "--font FILE" in told
    overlay_masks(_GREY, None, [_MASK], ["another cat"], np.ones(1))
    assert capsys.readouterr().err == ""


def test_an_installed_font_serves_where_letters_lack_and_nowhere_else(
    nothing_installed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    nothing_installed.setattr(fonts, "INSTALLED", ("absent.ttf", "installed.ttf"))
    _install(nothing_installed, "installed.ttf")
    assert fonts.typeface("고양이", 20).size == 25
    assert fonts.typeface("cat", 20).size == 20
    fonts.tell_missing_letters(["고양이"], None)
    assert capsys.readouterr().err == ""


def test_one_letter_that_no_font_has_costs_no_other(
    nothing_installed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    nothing_installed.setattr(fonts, "INSTALLED", ("installed.ttf",))
    _install(nothing_installed, "installed.ttf", but="🏠")
    assert fonts.typeface("дом 🏠", 20).size == 25
    # Nothing is gained for this one.
    assert fonts.typeface("cat 🏠", 20).size == 20
    fonts.tell_missing_letters(["мир 🏠"], None)
    assert "all letters of мир 🏠" in capsys.readouterr().err


def test_a_named_font_draws_other_pictures(nothing_installed: pytest.MonkeyPatch):
    file = Path("some.ttf")
    _install(nothing_installed, file)
    for draw in (
        lambda font: overlay_masks(
            _GREY, None, [_MASK], ["cat"], np.ones(1), style=OverlayStyle(font=font)
        ),
        lambda font: overlay_labels(_GREY, _MASK.astype(np.uint8), ["b", "cat"], font=font),
    ):
        own, other = draw(None), draw(file)
        assert own.shape != other.shape or (own != other).any()


def test_a_file_that_is_no_font_is_named(tmp_path: Path):
    (tmp_path / "x.ttf").write_text("no font")
    for path in (tmp_path / "x.ttf", tmp_path / "absent.ttf"):
        with pytest.raises(ValueError, match=f"the font {path} cannot be read"):
            fonts.check_font(path)
