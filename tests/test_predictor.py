"""The predictor: one or many images, few compilations, one image ahead, loading and its errors."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import pointrend_jax
from pointrend_jax import loaded_model
from pointrend_jax.data.pipeline import make_sample
from pointrend_jax.evaluation.paste import paste_masks_to_rle, scale_boxes_to_original
from pointrend_jax.instances import PredictedInstances
from pointrend_jax.loading import load
from pointrend_jax.predictor import Predictor
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.instance import probability
from pointrend_jax.tasks.task import Task, Variables
from tests.tiny import tiny_config, tiny_variables

NAMES = ("circle", "square", "star")
# Landscape, portrait, two of one bucket, one enlarged, one too long for every bucket.
SIZES = ((64, 96), (96, 64), (128, 192), (60, 90), (7, 9), (20, 300))


def _config() -> Config:
    config = tiny_config()
    config.model.box.score_threshold = 0.01
    config.data.eval_min_size, config.data.max_size = 64, 128
    config.data.buckets = ((64, 96), (96, 64))
    return config.lock()


def _spread_variables() -> Variables:
    """Larger predictors than at initialisation, so that scores spread and masks are not empty."""
    variables = tiny_variables(build_task(_config()))
    params = variables["params"]
    params["box_head"]["classifier"]["kernel"] *= 100
    for head in ("coarse_head", "point_head"):
        params["mask_head"][head]["predictor"]["kernel"] *= 1000
    return variables


@pytest.fixture(scope="module")
def variables() -> Variables:
    return _spread_variables()


@pytest.fixture(scope="module")
def predictor(variables: Variables) -> Predictor:
    return Predictor(variables, _config(), NAMES)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*hw, 3), dtype=np.uint8) for hw in SIZES]


@pytest.fixture(scope="module")
def results(predictor: Predictor, images: list[np.ndarray]) -> list[PredictedInstances]:
    return predictor.predict(images)


@pytest.fixture(scope="module")
def checkpoint(variables: Variables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training run leaves, as far as prediction reads it."""
    workdir = tmp_path_factory.mktemp("run")
    with ocp.CheckpointManager((workdir / "checkpoints").absolute()) as manager:
        meta = {"config": _config().to_dict(), "class_names": list(NAMES)}
        manager.save(
            3,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(variables), meta=ocp.args.JsonSave(meta)
            ),
        )
    return workdir


def _assert_equal(ours: PredictedInstances, theirs: PredictedInstances) -> None:
    for name in ("boxes", "scores", "classes", "class_names", "image_hw"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    np.testing.assert_array_equal(ours.masks.logits, theirs.masks.logits)
    np.testing.assert_array_equal(ours.coarse_masks.logits, theirs.coarse_masks.logits)


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
    config, image = _config(), images[2]
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
        expected = paste_masks_to_rle(probability(logits[0][valid][kept]), boxes, (128, 192))
        assert masks.rle() == expected


def test_one_image_gives_what_it_gives_among_many(
    predictor: Predictor, images: list[np.ndarray], results: list[PredictedInstances]
) -> None:
    for image, among_many in zip(images, results, strict=True):
        _assert_equal(predictor.predict(image), among_many)


def test_no_images_give_no_results(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_thresholds_keep_the_best_instances(
    predictor: Predictor, images: list[np.ndarray], results: list[PredictedInstances]
) -> None:
    everything = results[0]
    assert len(everything) > 2
    _assert_equal(predictor.predict(images[0], max_instances=2), everything[:2])
    threshold = float(everything.scores[1])
    expected = everything[everything.scores >= threshold]
    assert len(expected) < len(everything)
    _assert_equal(predictor.predict(images[0], score_threshold=threshold), expected)


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
    [({"score_threshold": 50.0}, "score_threshold"), ({"max_instances": 0}, "max_instances")],
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


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The canvas of each compilation of a predictor that is made after this."""
    canvases: list[tuple[int, ...]] = []

    def counting_task(config: Config) -> Task:
        task = build_task(config)

        def predict(variables: Variables, batch: Any) -> Any:
            canvases.append(batch.images.shape[1:3])
            return task.predict(variables, batch)

        return task._replace(predict=predict)

    monkeypatch.setattr(loaded_model, "build_task", counting_task)
    return canvases


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """Everything that jax compiles (or reads from its cache of compiled programs) from here on."""
    events: list[str] = []

    def listen(event: str, *_: Any, **__: Any) -> None:
        if "backend_compile" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def test_six_sizes_compile_once_a_canvas(
    variables: Variables, images: list[np.ndarray], traced: list, compilations: list
) -> None:
    predictor = Predictor(variables, _config(), NAMES)
    predictor.predict(images)
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
    variables: Variables, images: list[np.ndarray], traced: list, compilations: list
) -> None:
    predictor = Predictor(variables, _config(), NAMES)
    predictor.warmup([(64, 96), (60, 90)])
    assert traced == [(64, 96)]
    assert compilations
    compilations.clear()
    predictor.predict([images[0], images[2]])
    assert not compilations


def test_warmup_without_sizes_runs_every_bucket(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvases, predict = [], predictor._predict

    def recording(variables: Variables, batch: Any) -> Any:
        canvases.append(batch.images.shape)
        return predict(variables, batch)

    monkeypatch.setattr(predictor, "_predict", recording)
    predictor.warmup()
    assert sorted(canvases) == [(1, 64, 96, 3), (1, 96, 64, 3)]


def test_the_next_image_is_dispatched_before_a_result_is_handed_out(
    predictor: Predictor, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatched = []
    predict = predictor._predict

    def recording(variables: Variables, batch: Any) -> Any:
        dispatched.append(batch)
        return predict(variables, batch)

    monkeypatch.setattr(predictor, "_predict", recording)
    number_at_result = [len(dispatched) for _ in predictor.stream(images[:4])]
    assert number_at_result == [2, 3, 4, 4]


def _load(*arguments: Any) -> Predictor:
    loaded = load(*arguments)
    assert isinstance(loaded, Predictor)
    return loaded


def test_a_checkpoint_predicts_as_its_variables(
    checkpoint: Path, images: list[np.ndarray], results: list[PredictedInstances]
) -> None:
    loaded = _load(str(checkpoint))
    assert loaded.class_names == NAMES
    _assert_equal(loaded.predict(images[0]), results[0])


def test_fields_of_inference_can_be_changed(checkpoint: Path, images: list[np.ndarray]) -> None:
    fields = {
        "data.eval_min_size": 32,
        "data.buckets": ((32, 64), (64, 32)),
        "model.box.score_threshold": 1,
    }
    changed = _load(checkpoint, fields)
    assert changed.config.data.eval_min_size == 32
    assert changed._model.canvas((64, 96)) == (32, 64)
    assert len(changed.predict(images[0])) == 0


def test_a_whole_configuration_can_be_given(checkpoint: Path) -> None:
    config = _config().unlock()
    config.model.box.detections_per_image = 2
    loaded = load(checkpoint, config)
    assert loaded.config.model.box.detections_per_image == 2
    assert loaded.config.is_locked


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"model.fpn_channels": 8}, r"(?s)does not fit this model.*fpn/lateral2/kernel"),
        ({"model.backbone": "resnet34"}, "made with the backbone 'resnet18'"),
        ({"num_classes": 5}, "a name for each class"),
        ({"data.eval_minsize": 5}, r"Did you mean config\.data\.eval_min_size"),
        ({"data.eval_min_size": "large"}, r"config\.data\.eval_min_size cannot be set to 'large'"),
        ({"data.buckets": ((50, 64),)}, "multiples of 32"),
        (3, "the path of a config file, got int"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    checkpoint: Path, config: Any, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        load(checkpoint, config)


def test_a_checkpoint_predicts_in_bfloat16_too(
    checkpoint: Path, images: list[np.ndarray], results: list[PredictedInstances]
) -> None:
    loaded = _load(checkpoint, {"model.compute_dtype": "bfloat16"})
    assert {x.dtype for x in jax.tree.leaves(loaded._model.variables)} == {np.dtype(np.float32)}
    ours, theirs = loaded.predict(images[0]), results[0]
    assert ours.scores.dtype == ours.masks.logits.dtype == np.float32
    # Boxes of nearly equal scores change places; 0.006 was seen.
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=0.02)


def test_loading_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model_final\.pkl is no directory.*load\(file, config\)"):
        load(tmp_path / "model_final.pkl")
    with pytest.raises(ValueError, match=r"model_final\.pkl"):
        load(tmp_path / "model_final.pkl", tiny_config())
    with pytest.raises(ValueError, match="has no checkpoints"):
        load(tmp_path)


def test_the_package_offers_its_interface_and_imports_jax_only_for_it() -> None:
    assert pointrend_jax.load is load
    assert pointrend_jax.Predictor is Predictor
    assert pointrend_jax.PredictedInstances is PredictedInstances
    with pytest.raises(AttributeError, match="laod"):
        pointrend_jax.laod  # type: ignore[attr-defined]  # noqa: B018
    code = "import sys, pointrend_jax, pointrend_jax.data.images; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
