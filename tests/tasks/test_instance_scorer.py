"""What a scorer of instances gives beside the scores, by one process and by two."""

import pickle
from typing import Any

import numpy as np

from pointrend_jax.data.build_objects import EvalSet
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.masks import PredictedMasks
from pointrend_jax.tasks.instance_scorer import InstanceScorer
from tests.evaluation.scenes import CATEGORIES, HEIGHT, WIDTH, annotation, ground_truth
from tests.tiny import tiny_config

_NAMES = tuple(str(category["name"]) for category in CATEGORIES)


def _data() -> EvalSet:
    """Three images with a rectangle of 20 x 20 pixels each, the first a disc by its name."""
    annotations = []
    for i in range(3):
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[10:30, 10:30] = True
        annotations.append(annotation(i + 1, i + 1, 3 if i == 0 else 7, mask))
    unused: Any = None
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ids = tuple(category["id"] for category in CATEGORIES)
    return EvalSet(_NAMES, ids, unused, ground_truth(annotations, 3), lambda _: image, None)


def _boxes(*boxes: list[float], scores: tuple[float, ...] = (0.9, 0.4)) -> PredictedInstances:
    """Discs that fill their boxes; the first is sure, the others are not."""
    found, number = np.asarray(boxes, np.float32).reshape(-1, 4), len(boxes)
    masks = PredictedMasks(np.full((number, 4, 4), 9, np.float32), found, (HEIGHT, WIDTH))
    return PredictedInstances(
        found,
        np.asarray(scores[:number], np.float32),
        np.zeros(number, np.int64),
        ("disc",) * number,
        masks,
        masks,
    )


_FOUND = {1: _boxes([10, 10, 30, 30]), 2: _boxes([10, 10, 30, 30], [40, 10, 50, 20]), 3: _boxes()}


def test_two_processes_give_the_scores_details_and_pictures_of_one() -> None:
    whole, lead, other = (InstanceScorer(_data(), tiny_config()) for _ in range(3))
    for image_id, found in _FOUND.items():
        for scorer in (whole, other if image_id == 2 else lead):
            scorer.add(image_id, found)
    lead.merge(pickle.loads(pickle.dumps(other.parts)))
    assert lead.evaluate() == whole.evaluate()
    for image_id in _FOUND:
        for ours, theirs in zip(lead.pair(image_id), whole.pair(image_id), strict=True):
            np.testing.assert_array_equal(ours.pixels, theirs.pixels)
            assert ours.words == theirs.words


def test_details_name_the_files_and_pictures_show_what_is_sure() -> None:
    scorer = InstanceScorer(_data(), tiny_config())
    for image_id, found in _FOUND.items():
        scorer.add(image_id, found)
    details = scorer.evaluate().details
    assert [image["name"] for image in details["images"]["best"]] == ["1.jpg", "2.jpg"]
    assert [image["name"] for image in details["images"]["worst"]] == ["3.jpg"]
    # A pasted mask loses the corners of its box.
    first, second = (image["quality"] for image in details["images"]["best"])
    assert 0.95 < first < 1
    assert second == 0
    pairs = [(p["true"], p["predicted"], p["count"]) for p in details["confusion"]["pairs"]]
    assert pairs == [("disc", "disc", 1), ("box", "disc", 1), ("box", None, 1)]
    shown = [[drawn.words for drawn in scorer.pair(i)] for i in (1, 2, 3)]
    assert shown == [["1 disc", "1 disc"], ["1 box", "1 disc"], ["1 box", "nothing"]]
    # Names need room beside the objects of so small an image.
    assert {max(drawn.pixels.shape) for drawn in scorer.pair(1)} == {480}


def test_an_object_and_what_finds_it_have_one_colour_in_the_pictures() -> None:
    masks = np.zeros((2, HEIGHT, WIDTH), np.bool_)
    masks[0, 10:30, 10:30] = masks[1, 10:30, 40:60] = True
    objects = [annotation(i, 1, 3, mask) for i, mask in enumerate(masks, 1)]
    scorer = InstanceScorer(
        _data()._replace(eval_ground_truth=ground_truth(objects, 1)), tiny_config()
    )
    # The second object by the better detection, the first by the other; and one where nothing is.
    boxes = _boxes([40, 10, 60, 30], [10, 10, 30, 30], [10, 40, 30, 55], scores=(0.9, 0.8, 0.7))
    scorer.add(1, boxes)
    truth, predicted = scorer.pair(1)
    scale = truth.pixels.shape[1] / WIDTH
    (first, second), ours = (
        [drawn.pixels[int(20 * scale), int(x * scale)].tolist() for x in (20, 50)]
        for drawn in (truth, predicted)
    )
    assert ours == [first, second]
    other = predicted.pixels[int(47 * scale), int(20 * scale)].tolist()
    assert len({tuple(color) for color in (first, second, other, [0, 0, 0])}) == 4
