"""The written set of label maps: what its scenes are drawn onto, and what is in its files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks import zoom
from pointrend_jax.data.sources.embedded import EVALUATION_PHOTOS, TRAINING_PHOTOS, draw_scene


def test_written_label_maps_are_validated_on_photos_that_are_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "set"
    monkeypatch.setattr("sys.argv", ["zoom", "--write-label-maps", str(folder), "--side", "48"])
    monkeypatch.setattr(zoom, "WRITTEN", {"train": 2, "val": 2})
    zoom.main()
    for split, photos in {"train": TRAINING_PHOTOS, "val": EVALUATION_PHOTOS}.items():
        seed = {"train": 9001, "val": 9002}[split]
        pixels, objects = draw_scene(np.random.default_rng([seed, 1]), 48, 3, 1, photos=photos)
        written = np.asarray(Image.open(folder / f"{split}/000001.jpg"))
        assert np.abs(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(float) - written).mean() < 10
        labels = np.asarray(Image.open(folder / f"{split}/000001.png"))
        assert set(np.unique(labels)) == {0, *(item.category_id for item in objects)}
