"""The predictor: one or many images, few compilations, one image ahead."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.compilations import counted_compilations
from pointrend_jax.data.batches.samples import make_sample
from pointrend_jax.masks.paste import paste_mask, probability, scale_boxes_to_original
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.predict import loaded_model
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.structures import (
    Config,
    Detections,
    EvalSample,
    ImageBatch,
    InstancePredictions,
)
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.predict_batches import MADE_AHEAD, one_ahead
from pointrend_jax.tasks.task import Task, Variables
from tests.tiny_predictor import (
    NAMES,
    SIZES,
    assert_equal_instances,
    predictor_config,
    random_images,
    spread_variables,
)


@pytest.fixture(scope="module")
def variables() -> Variables:
    return spread_variables()


@pytest.fixture(scope="module")
def predictor(variables: Variables) -> Predictor:
    return Predictor(variables, predictor_config(), NAMES)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return random_images()


@pytest.fixture(scope="module")
def results(predictor: Predictor, images: list[np.ndarray]) -> list[PredictedInstances]:
    return predictor.predict(images)


def test_results_come_in_the_order_and_the_frame_of_their_images(
    results: list[PredictedInstances],
) -> None:
    assert [instances.image_hw for instances in results] == list(SIZES)
    assert sum(map(len, results)) > 10
    for (height, width), instances in zip(SIZES, results, strict=True):
        assert instances.boxes.min(initial=0) >= 0
        assert (instances.boxes <= [width, height, width, height]).all()
        assert (np.diff(instances.scores) <= 0).all()
        assert instances.class_names == tuple(NAMES[label] for label in instances.classes)
        assert instances.masks.boolean().shape == (len(instances), height, width)
        assert instances.masks.logits.shape[1:] == (56, 56)
        assert instances.coarse_masks.logits.shape[1:] == (7, 7)


def test_masks_equal_those_pasted_from_the_network_s_output(
    predictor: Predictor, variables: Variables, images: list[np.ndarray]
) -> None:
    config, image = predictor_config(), images[2]
    bucket = (64, 96)
    sample = make_sample([image], (0,), bucket, 64, 128, 1)
    raw = jax.device_get(jax.jit(build_task(config).predict)(variables, sample.batch))
    valid = raw.detections.valid[0]
    boxes, kept = scale_boxes_to_original(raw.detections.boxes[0][valid], bucket, (128, 192))
    instances = predictor.predict(image)
    assert instances.masks.boolean().any()
    np.testing.assert_array_equal(instances.boxes, boxes)
    np.testing.assert_array_equal(instances.scores, raw.detections.scores[0][valid][kept])
    for masks, logits in (
        (instances.masks, raw.mask_logits),
        (instances.coarse_masks, raw.coarse_logits),
    ):
        pasted = zip(probability(logits[0][valid][kept]), boxes, strict=True)
        assert masks.rle() == [encode_mask(paste_mask(*pair, (128, 192))) for pair in pasted]


def test_masks_traced_for_a_gpu_leave_the_device_as_changes(
    variables: Variables, images: list[np.ndarray], trace_for: Callable[[str], None]
) -> None:
    trace_for("gpu")
    predictor = Predictor(variables, predictor_config(), NAMES)
    # Of one canvas and of four sizes, on one canvas of originals.
    found = predictor.predict([images[i] for i in (0, 2, 3, 4)], batch_size=4)
    assert [instances.image_hw for instances in found] == [SIZES[i] for i in (0, 2, 3, 4)]
    pixels = apart = 0
    for instances in found:
        for masks in (instances.masks, instances.coarse_masks):
            drawn, probabilities = masks.boolean(), masks.probabilities()
            assert masks.rle() == [encode_mask(mask) for mask in drawn]
            differs = drawn != (probabilities >= 0.5)
            # Rounding of the sigmoid and of two products, and nothing else.
            assert not (differs & (np.abs(probabilities - 0.5) > 1e-5)).any()
            pixels, apart = pixels + drawn.sum(), apart + differs.sum()
    assert pixels > 1000
    assert apart <= 2


def test_warmup_for_a_gpu_compiles_what_pastes_too(
    images: list[np.ndarray],
    trace_for: Callable[[str], None],
    traced: list,
    compilations: list,
) -> None:
    trace_for("gpu")
    predictor = Predictor(_NO_VARIABLES, predictor_config(), NAMES)
    predictor.warmup([SIZES[2]], batch_size=4)
    compilations.clear()
    predictor.predict([images[i] for i in (0, 2, 3, 4)], batch_size=4)
    assert not compilations
    assert traced == [(64, 96)]


def test_an_explained_box_begins_with_its_predicted_coarse_mask(
    predictor: Predictor, images: list[np.ndarray], results: list[PredictedInstances]
) -> None:
    # Of the long image, whose height is rounded: the two axes have other scales.
    image, instances = images[5], results[5]
    assert len(instances) > 1
    explained = predictor.explain(image, instances.boxes, instances.classes)
    for step, logits in zip(explained, instances.coarse_masks.logits, strict=True):
        np.testing.assert_allclose(step.coarse_probs, probability(logits), atol=2e-3)


def test_one_image_gives_what_it_gives_among_many(
    predictor: Predictor, images: list[np.ndarray], results: list[PredictedInstances]
) -> None:
    for image, among_many in zip(images, results, strict=True):
        assert_equal_instances(predictor.predict(image), among_many)


def test_batches_of_images_give_what_each_gives_alone(predictor: Predictor) -> None:
    # Those of one canvas, which are as many as a batch and a part of one.
    images = [random_images()[i] for i in (0, 2, 3)]
    alone, together = predictor.predict(images), predictor.predict(images, batch_size=2)
    assert len(together) == len(images)
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.image_hw == theirs.image_hw
        np.testing.assert_array_equal(ours.classes, theirs.classes)
        # Another program: rounding.
        np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=1e-4, atol=2e-3)
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-4, atol=1e-5)
        apart = np.abs(ours.masks.logits - theirs.masks.logits)
        assert (apart > 1e-3 * np.abs(theirs.masks.logits).max(initial=1)).mean() < 1e-3


def test_a_batch_ends_where_the_next_image_needs_another_canvas(traced: list) -> None:
    predictor = Predictor(_NO_VARIABLES, predictor_config(), NAMES)
    images = random_images()[:3]
    streamed = list(predictor.stream(iter(images), batch_size=2))
    assert [result.image_hw for result in streamed] == [image.shape[:2] for image in images]
    assert traced == [(64, 96), (96, 64)]


def test_an_image_that_cannot_be_read_is_told_after_the_results_of_all_before(
    traced: list,
) -> None:
    predictor = Predictor(_NO_VARIABLES, predictor_config(), NAMES)
    images = [random_images()[i] for i in (0, 2, 3)]
    results = predictor.stream([*images, np.zeros((4, 4)), *images], batch_size=2)
    for image in images:
        assert next(results).image_hw == image.shape[:2]
    with pytest.raises(ValueError, match=r"image 3 must be .*grey image"):
        next(results)


def test_a_stream_holds_few_images_and_who_stops_it_leaves_no_thread(traced: list) -> None:
    predictor = Predictor(_NO_VARIABLES, predictor_config(), NAMES)
    predictor.predict(random_images()[0])
    image, taken, threads = random_images()[0], [], set(threading.enumerate())

    def images() -> Iterator[np.ndarray]:
        for number in range(100):
            taken.append(number)
            yield image

    for given, _ in enumerate(predictor.stream(images()), 1):
        # The result that was given, the next one's on the device, and batches of the thread.
        assert len(taken) <= given + 1 + MADE_AHEAD
        if given == 10:
            break
    assert not set(threading.enumerate()) - threads


def test_no_images_give_no_results(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_thresholds_keep_the_best_instances(
    predictor: Predictor, images: list[np.ndarray], results: list[PredictedInstances]
) -> None:
    everything = results[0]
    assert len(everything) > 2
    assert_equal_instances(predictor.predict(images[0], max_instances=2), everything[:2])
    threshold = float(everything.scores[1])
    expected = everything[everything.scores >= threshold]
    assert len(expected) < len(everything)
    assert_equal_instances(predictor.predict(images[0], score_threshold=threshold), expected)


def test_an_image_without_instances_gives_empty_arrays(
    predictor: Predictor, images: list[np.ndarray]
) -> None:
    none = predictor.predict(images[0], score_threshold=1.0)
    assert none.boxes.shape == (0, 4)
    assert none.masks.boolean().shape == (0, 64, 96)
    assert none.coarse_masks.rle() == []
    assert none.class_names == ()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"score_threshold": 50.0}, "score_threshold"),
        ({"max_instances": 0}, "max_instances"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused_at_once(
    predictor: Predictor, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        predictor.stream([], **options)


def test_a_wrong_image_is_named_before_any_is_predicted(
    predictor: Predictor, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "_predict", None)
    with pytest.raises(ValueError, match=r"image 1 must be .*float32 .*astype"):
        predictor.predict([images[0], images[1].astype(np.float32)])


_NO_VARIABLES: Variables = {"params": {}, "buffers": {}}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The canvas of each compilation of a predictor that is made after this.

    Its network is none: one object fills each image, whatever it shows and the variables are.
    """
    canvases: list[tuple[int, ...]] = []

    def predict(variables: Variables, batch: ImageBatch) -> InstancePredictions:
        assert not variables["params"]
        canvases.append(batch.images.shape[1:3])
        images = len(batch.images)
        height, width = jnp.split(batch.image_hw.astype(jnp.float32)[:, None], 2, axis=-1)
        boxes = jnp.concatenate([height * 0, height * 0, width, height], axis=-1)
        one = jnp.ones((images, 1))
        index = one.astype(jnp.int32)
        found = Detections(boxes, 0.5 * one, index, one > 0)
        return InstancePredictions(
            found, jnp.ones((images, 1, 56, 56)), jnp.ones((images, 1, 7, 7))
        )

    def without_network(config: Config) -> Task:
        return build_task(config)._replace(predict=predict, shapes=lambda: _NO_VARIABLES)

    monkeypatch.setattr(loaded_model, "build_task", without_network)
    return canvases


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """Everything that jax compiles (or reads from its cache of compiled programs) from here on."""
    with counted_compilations() as names:
        yield names


def test_six_sizes_compile_once_a_canvas(
    images: list[np.ndarray], traced: list, compilations: list
) -> None:
    predictor = Predictor(_NO_VARIABLES, predictor_config(), NAMES)
    for instances, image in zip(predictor.predict(images), images, strict=True):
        assert instances.masks.boolean().mean() > 0.5
        assert instances.image_hw == image.shape[:2]
    # Five images share the two buckets, the long one has a canvas of its own.
    assert sorted(traced) == [(64, 96), (64, 128), (96, 64)]
    assert compilations
    compilations.clear()
    rng = np.random.default_rng(1)
    others = [(65, 96), (300, 200), (31, 33), (60, 150), (30, 1000), (64, 64)]
    for instances in predictor.stream(rng.integers(0, 255, (*hw, 3), np.uint8) for hw in others):
        instances.masks.rle()
    assert not compilations
    assert len(traced) == 3


def test_warmup_leaves_nothing_to_compile(
    images: list[np.ndarray], traced: list, compilations: list
) -> None:
    predictor = Predictor(_NO_VARIABLES, predictor_config(), NAMES)
    predictor.warmup([(64, 96), (60, 90)])
    assert traced == [(64, 96)]
    assert compilations
    compilations.clear()
    predictor.predict([images[0], images[2]])
    assert not compilations


def test_warmup_without_sizes_runs_every_bucket(traced: list) -> None:
    Predictor(_NO_VARIABLES, predictor_config(), NAMES).warmup()
    assert sorted(traced) == [(64, 96), (96, 64)]


def test_the_next_batch_is_dispatched_before_a_result_is_handed_out() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    samples = [make_sample([image], (i,), (64, 96), 64, 96, 1) for i in range(4)]
    dispatched: list[EvalSample] = []

    def predict(sample: EvalSample) -> int:
        dispatched.append(sample)
        return sample.image_ids[0]

    number_at_result = [(i, len(dispatched)) for _, i in one_ahead(samples, predict)]
    assert number_at_result == [(0, 2), (1, 3), (2, 4), (3, 4)]
