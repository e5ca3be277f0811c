"""Label maps as pictures: what `predict` draws, and what is drawn without the image."""

from pathlib import Path

import numpy as np
from PIL import Image

from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.visualize import overlay_labels

_LABELS = np.asarray([[0, 1, 2], [2, 2, 0]], np.uint8).repeat(200, axis=0).repeat(200, axis=1)
_RESULT = PredictedLabels(_LABELS, _LABELS, ("road", "tree", "sky"))


def test_a_plot_is_the_overlay_of_the_image(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    expected = overlay_labels(image, _LABELS, _RESULT.class_names)
    np.testing.assert_array_equal(_RESULT.plot(image), expected)
    _RESULT.save(tmp_path / "labels.png", image)
    with Image.open(tmp_path / "labels.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)


def test_without_the_image_the_classes_have_their_colours_on_a_plain_ground() -> None:
    picture = _RESULT.plot()
    middles = [[tuple(picture[y, x]) for x in (100, 300, 500)] for y in (100, 300)]
    (road, tree, sky), below = middles
    assert below == [sky, sky, road]
    assert len({road, tree, sky}) == 3
