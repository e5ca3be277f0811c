"""A predictor from a checkpoint: what may be changed, and what is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import pointrend_jax
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.load import load
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Variables
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.saved_variables import save_variables
from tests.tiny import images_of, object_batch, tiny_config
from tests.tiny_predictor import (
    NAMES,
    assert_equal_instances,
    predictor_config,
    random_images,
    spread_variables,
)

_IMAGE = random_images()[0]


@pytest.fixture(scope="module")
def variables() -> Variables:
    return spread_variables()


@pytest.fixture(scope="module")
def expected(variables: Variables) -> PredictedInstances:
    return Predictor(variables, predictor_config(), NAMES).predict(_IMAGE)


@pytest.fixture(scope="module")
def checkpoint(variables: Variables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run")
    save_variables(workdir, variables, CheckpointMeta(predictor_config().to_dict(), NAMES))
    return workdir


def _load(*arguments: Any) -> Predictor:
    loaded = load(*arguments)
    assert isinstance(loaded, Predictor)
    return loaded


def test_a_checkpoint_predicts_as_its_variables(
    checkpoint: Path, expected: PredictedInstances
) -> None:
    loaded = _load(str(checkpoint))
    assert loaded.class_names == NAMES
    assert loaded.category_ids == ()
    assert_equal_instances(loaded.predict(_IMAGE), expected)


def test_fields_of_inference_can_be_changed(checkpoint: Path) -> None:
    fields = {"data.eval_min_size": 32, "model.box.score_threshold": 1}
    changed = _load(checkpoint, fields)
    assert changed.config.data.eval_min_size == 32
    assert changed.config.model.box.score_threshold == 1.0
    # What is not named stays as the model was trained.
    assert changed.config.data.max_size == predictor_config().data.max_size


def test_a_whole_configuration_can_be_given(checkpoint: Path) -> None:
    config = predictor_config().unlock()
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
        ({"data.buckets": ((50, 64),)}, r"config\.data\.buckets must be .* multiple of 32"),
        (3, "the path of a config file, got int"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    checkpoint: Path, config: Any, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        load(checkpoint, config)


def test_a_checkpoint_may_compute_in_bfloat16_and_answers_in_float32(checkpoint: Path) -> None:
    config = _load(checkpoint, {"model.compute_dtype": "bfloat16"}).config
    batch = images_of(object_batch())
    task = build_task(config)
    program = jax.make_jaxpr(task.predict, return_shape=True)
    jaxpr, predictions = program(task.shapes(), batch)
    assert "bf16" in str(jaxpr)
    floats = {predictions.detections.scores.dtype, predictions.mask_logits.dtype}
    assert floats == {np.dtype(np.float32)}


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
    # A prediction needs no data set, and none of what reads them.
    code = (
        "import sys, pointrend_jax; pointrend_jax.load; pointrend_jax.SemanticPredictor;"
        "assert not {'tensorflow_datasets', 'grain', 'array_record'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("ids", [(1, 2), (1, 2, 2), (1, 2, 3, 3)])
def test_category_ids_must_be_one_for_each_class(
    variables: Variables, ids: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="a category id for each of the 3 classes"):
        Predictor(variables, predictor_config(), NAMES, ids)
