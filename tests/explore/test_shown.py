"""What the page is told of scenes: objects, bytes and files, without a model."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from pointrend_jax.explore.shown import Shown, ShownInstances, ShownLabels, photo
from pointrend_jax.predict.scene import LabelScene, Scene
from pointrend_jax.results.instances import ExplainedStep, PredictedInstances
from pointrend_jax.results.label_maps import ExplainedLabelStep, PredictedLabels
from pointrend_jax.results.masks import PredictedMasks

IMAGE = np.full((20, 30, 3), 90, np.uint8)
# A cell each: inside, with a probability of 0.73.
BOXES = np.array([[2, 3, 12, 13], [15, 5, 25, 15]], np.float32)
MASKS = PredictedMasks(np.ones((2, 4, 4), np.float32), BOXES, (20, 30))
INSTANCES = PredictedInstances(
    BOXES, np.array([0.9, 0.4], np.float32), np.array([1, 0]), ("dog", "cat"), MASKS, MASKS
)
LABELS = PredictedLabels(
    np.repeat([[0, 2]], 20, 0).repeat(15, 1).astype(np.uint8), np.zeros((20, 30), np.uint8),
    ("sky", "road", "car"),
)  # fmt: skip


class _Scene(Scene):
    """A model that is 0.2 sure everywhere."""

    def __init__(self) -> None:
        self.image, self.instances = IMAGE, INSTANCES

    def explain(self, index, *, window, size):
        probs, uncertainty = np.full(size, 0.2, np.float32), np.array([[0.0, -8.0]], np.float32)
        return [ExplainedStep(probs, uncertainty, np.array([[0.25, 0.75]], np.float32))]


class _LabelScene(LabelScene):
    """A model that says road everywhere it is asked."""

    def __init__(self) -> None:
        self.image, self.labels = IMAGE, LABELS

    def explain(self, *, window, size):
        uncertainty = np.array([[0.0, -1.0]], np.float32)
        return [ExplainedLabelStep(np.ones(size, np.uint8), uncertainty, np.zeros((0, 2), "f"))]


def _instances() -> ShownInstances:
    return ShownInstances(_Scene(), (7, 9), ("cat", "dog"))


def test_objects_are_described_with_both_of_their_outlines():
    description = json.loads(json.dumps(_instances().description()))
    assert (description["width"], description["height"], description["mask_side"]) == (30, 20, 4)
    first, second = description["objects"]
    assert (first["class"], first["class_name"], round(first["score"], 2)) == (1, "dog", 0.9)
    assert second["box"] == [15, 5, 25, 15]
    assert first["color"] != second["color"]
    assert first["rendered"]["fill"].startswith("M")
    assert first["coarse"].keys() == {"fill", "stroke"}


def test_a_label_map_is_described_by_the_classes_that_occur_and_their_shares():
    description = json.loads(json.dumps(ShownLabels(_LabelScene()).description()))
    found = [(item["class"], item["class_name"], item["score"]) for item in description["objects"]]
    assert found == [(0, "sky", 0.5), (2, "car", 0.5)]
    assert len(description["colors"]) == 3
    assert description["files"] == ["png"]


def test_windows_and_maps_are_a_byte_a_pixel():
    assert _instances().window(0, (0, 0, 4, 4), 8) == bytes([51]) * 64
    labels = ShownLabels(_LabelScene())
    assert labels.window(0, (0, 0, 4, 4), 8) == bytes([1]) * 64
    assert labels.map("rendered") == LABELS.labels.tobytes()
    assert labels.map("coarse") == bytes(600)
    with pytest.raises(ValueError, match="has no label map"):
        _instances().map("rendered")


@pytest.mark.parametrize("scene", [_instances(), ShownLabels(_LabelScene())])
def test_steps_have_points_and_an_uncertainty_that_is_bright_where_it_is_high(scene: Shown):
    (step,) = scene.steps(0, (0, 0, 4, 4), 8)
    sure, unsure = bytes.fromhex(step["uncertainty"])[1], bytes.fromhex(step["uncertainty"])[0]
    assert (step["height"], step["width"], unsure) == (1, 2, 255)
    # exp(-4): four units away from the least sure.
    assert sure == round(255 * np.exp(-4))
    json.dumps(step)


def test_chosen_instances_are_saved_as_coco_with_the_data_set_s_ids():
    coco = json.loads(_instances().save("json", [1]).content)
    (annotation,) = coco["annotations"]
    assert (annotation["id"], annotation["image_id"], annotation["category_id"]) == (1, 1, 7)
    assert [c["id"] for c in coco["categories"]] == [7, 9]
    assert coco["images"] == [{"id": 1, "file_name": "photo", "height": 20, "width": 30}]
    assert coco_mask.area(annotation["segmentation"]) == annotation["area"] > 0


def test_pictures_are_saved_in_the_size_that_they_are_shown_in():
    png = _instances().save("png", [0, 1])
    assert (png.name, png.media_type) == ("masks.png", "image/png")
    width, height = Image.open(io.BytesIO(png.content)).size
    assert (width * 20, width % 30) == (height * 30, 0)
    svg = _instances().save("svg", [0])
    assert svg.content.count(b"<g>") == 1
    # Below a label map stands its legend.
    saved = ShownLabels(_LabelScene()).save("png", [0, 1])
    assert saved.name == "labels.png"
    size = Image.open(io.BytesIO(saved.content)).size
    assert size[0] == 30
    assert size[1] > 20


def _saved_pixels(scene: Shown, chosen: list[int]) -> np.ndarray:
    content = scene.save("png", chosen).content
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


@pytest.mark.parametrize("chosen", [[1], [0, 1], [1, 0], [-1]])
def test_a_saved_object_has_the_colour_that_the_page_gives_it(chosen: list[int]):
    color = _instances().description()["objects"][1]["color"]
    pixels = _saved_pixels(_instances(), chosen)
    # The second object's box, in the middle of which nothing is written.
    change = pixels[12, 20] - 90
    np.testing.assert_allclose(change, 0.42 * (np.array(color) - 90), atol=2)
    svg = _instances().save("svg", chosen).content.decode()
    assert f'fill="#{color[0]:02x}{color[1]:02x}{color[2]:02x}"' in svg


@pytest.mark.parametrize("scene", [_instances(), ShownLabels(_LabelScene())])
def test_a_picture_of_nothing_is_the_photo(scene: Shown):
    np.testing.assert_array_equal(_saved_pixels(scene, [])[:20], IMAGE)


def test_a_saved_label_map_has_the_chosen_classes_alone_in_the_page_s_colours():
    scene = ShownLabels(_LabelScene())
    # The second object is the class of number 2, on the right.
    color = scene.description()["objects"][1]["color"]
    pixels = _saved_pixels(scene, [1])
    np.testing.assert_array_equal(pixels[:20, :14], 90)
    np.testing.assert_allclose(pixels[10, 20] - 90, 0.55 * (np.array(color) - 90), atol=1)


@pytest.mark.parametrize("scene", [_instances(), ShownLabels(_LabelScene())])
def test_an_object_that_is_not_there_cannot_be_saved(scene: Shown):
    with pytest.raises(IndexError):
        scene.save("png", [2])


@pytest.mark.parametrize(
    ("scene", "message"),
    [(_instances(), "png, svg or json"), (ShownLabels(_LabelScene()), "as png, not as 'exe'")],
)
def test_an_unknown_kind_of_file_is_told(scene: Shown, message: str):
    with pytest.raises(ValueError, match=message):
        scene.save("exe", [])


def test_a_large_photo_is_shown_smaller_in_its_own_shape():
    shape = Image.open(io.BytesIO(photo(np.zeros((100, 8192, 3), np.uint8)).content)).size
    assert shape == (4096, 50)
