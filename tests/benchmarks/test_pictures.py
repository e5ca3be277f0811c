"""The command that makes the pictures of the documents: what it writes, and what it leaves."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.pictures import crowded, save
from benchmarks.screenshots import opened_browser
from benchmarks.zoom import UNSEEN, drawn_scene
from pointrend_jax.visualize import drawing


def test_pictures_are_small_enough_for_a_page(tmp_path: Path):
    # Too large as it is: neighbours differ by a little everywhere.
    noise = np.random.default_rng(0).integers(0, 16, (400, 600, 3)).astype(np.uint8)
    save(tmp_path / "noise.png", noise)
    assert (tmp_path / "noise.png").stat().st_size <= 300_000
    with Image.open(tmp_path / "noise.png") as written:
        assert written.size == (600, 400)
        shown = np.asarray(written.convert("RGB")).astype(int)
    assert np.abs(shown - noise).mean() < 4
    save(tmp_path / "wide.png", np.zeros((100, 3200, 3), np.uint8))
    with Image.open(tmp_path / "wide.png") as written:
        assert written.size == (1600, 50)
    with pytest.raises(ValueError, match=r"loud\.png would have \d+ bytes, and has at most 300000"):
        save(
            tmp_path / "loud.png",
            np.random.default_rng(0).integers(0, 256, (900, 900, 3)).astype(np.uint8),
        )
    assert not (tmp_path / "loud.png").exists()


def test_pages_are_left_alone_without_a_browser(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with opened_browser() as browser:
        assert browser is None
    assert "apt-get install chromium" in capsys.readouterr().out


def test_a_crowded_picture_has_a_colour_for_every_object_of_its_scenes():
    number = sum(len(drawn_scene(UNSEEN, i, 128)[1]) for i in range(25))
    colors = {tuple(c) for c in crowded().reshape(-1, 3).tolist()}
    assert {drawing.color_of(i) for i in range(number)} <= colors
