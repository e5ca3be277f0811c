"""A run goes on as it began: what decides its numbers may not change unless that is accepted."""

from pathlib import Path

import jax.numpy as jnp
import pytest

from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.resume import check_same_run, differences
from pointrend_jax.training.saved_variables import load_variables, save_variables
from pointrend_jax.training.trees import WrongCheckpointError


def test_differences_name_the_field_and_both_values() -> None:
    saved = {"seed": 0, "data": {"buckets": [[64, 64]], "dir": "a"}, "train": {"steps": 9}}
    now = {"seed": 1, "data": {"buckets": ((64, 64),), "dir": "b"}, "train": {"steps": 9, "new": 1}}
    assert differences(saved, now) == {
        "data.dir": "config.data.dir: a, now b",
        "seed": "config.seed: 0, now 1",
    }


def test_a_field_newer_than_the_checkpoint_had_its_default_then() -> None:
    saved, now = {"model": {"mask": {}}}, {"model": {"mask": {"sampler": "importance"}}}
    assert differences(saved, now) == {}
    now["model"]["mask"]["sampler"] = "mine"
    assert differences(saved, now) == {
        "model.mask.sampler": "config.model.mask.sampler: importance, now mine"
    }


def test_changes_that_decide_the_numbers_are_refused_unless_accepted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = {"seed": 0, "train": {"steps": 9, "learning_rate": 0.1}}
    saved = CheckpointMeta(config, ("a", "b"), 10, {"jax": "0.1"})
    more = {"seed": 0, "train": {"steps": 12, "learning_rate": 0.1}}
    check_same_run(
        saved, saved._replace(config=more, versions={"jax": "0.2"}), accept_changes=False
    )
    told = capsys.readouterr().out
    assert "config.train.steps: 9, now 12" in told
    assert "version of jax: 0.1, now 0.2" in told
    other = saved._replace(
        config={"seed": 0, "train": {"steps": 9, "learning_rate": 0.2}}, num_train_images=11
    )
    with pytest.raises(
        WrongCheckpointError, match=r"(?s)learning_rate: 0\.1, now 0\.2.*images: 10, now 11.*accept"
    ):
        check_same_run(saved, other, accept_changes=False)
    check_same_run(saved, other, accept_changes=True)
    assert "learning_rate: 0.1, now 0.2" in capsys.readouterr().out
    renamed = saved._replace(class_names=("a", "c"))
    with pytest.raises(WrongCheckpointError, match="classes"):
        check_same_run(saved, renamed, accept_changes=False)


def test_the_length_may_change_unless_it_decides_every_rate() -> None:
    config = {"train": {"schedule": "poly", "steps": 9}}
    saved = CheckpointMeta(config, ("a",))
    longer = saved._replace(config={"train": {"schedule": "poly", "steps": 12}})
    with pytest.raises(WrongCheckpointError, match=r"config\.train\.steps: 9, now 12"):
        check_same_run(saved, longer, accept_changes=False)
    check_same_run(saved, longer, accept_changes=True)


def test_how_often_images_are_repeated_may_not_change_on_the_way() -> None:
    saved = CheckpointMeta({"data": {"dir": "a", "repeat_threshold": 0.0}}, ("a",), 10, {})
    moved = saved._replace(config={"data": {"dir": "b", "repeat_threshold": 0.0}})
    check_same_run(saved, moved, accept_changes=False)
    other = saved._replace(config={"data": {"dir": "a", "repeat_threshold": 0.001}})
    with pytest.raises(WrongCheckpointError, match=r"repeat_threshold: 0\.0, now 0\.001"):
        check_same_run(saved, other, accept_changes=False)


def test_a_checkpoint_without_newer_fields_has_their_old_meaning(tmp_path: Path) -> None:
    config = {"seed": 0, "model": {"backbone": "resnet18"}, "train": {"steps": 9}}
    variables = {"params": {"a": jnp.ones(2)}, "buffers": {"b": jnp.ones(2)}}
    save_variables(tmp_path, variables, CheckpointMeta(config, ("a",)))
    _, meta, _ = load_variables(tmp_path)
    assert meta.config["model"] == {"backbone": "resnet18", "compute_dtype": "float32"}
    assert meta.config["train"] == {"steps": 9, "remat": False}
    now = meta._replace(
        config=meta.config | {"model": {"backbone": "resnet18", "compute_dtype": "bfloat16"}}
    )
    with pytest.raises(WrongCheckpointError, match=r"compute_dtype: float32, now bfloat16"):
        check_same_run(meta, now, accept_changes=False)


def test_the_same_set_may_come_from_elsewhere_but_not_another_set() -> None:
    saved = CheckpointMeta({"data": {"source": "coco", "dir": "a"}}, ("a",), 10, {}, "digest")
    moved = saved._replace(config={"data": {"source": "tfds", "dir": "b"}})
    check_same_run(saved, moved, accept_changes=False)
    with pytest.raises(WrongCheckpointError, match="training images: others"):
        check_same_run(saved, moved._replace(train_digest="other"), accept_changes=False)
    # A checkpoint of an earlier version knows no digest.
    with pytest.raises(WrongCheckpointError, match=r"source: coco, now tfds"):
        check_same_run(saved._replace(train_digest=""), moved, accept_changes=False)


def test_what_only_models_of_other_tasks_are_built_of_may_change() -> None:
    model = {
        "rpn": {"nms_threshold": 0.7},
        "semantic": {"conv_dim": 128},
        "refine": {"margin": 0.5},
    }
    saved = CheckpointMeta({"task": "instance", "model": model}, ("a",))

    def with_group(name: str, **fields: float) -> CheckpointMeta:
        return saved._replace(config={"task": "instance", "model": model | {name: fields}})

    for other in (with_group("semantic", conv_dim=64), with_group("refine", margin=0.25)):
        check_same_run(saved, other, accept_changes=False)
    with pytest.raises(WrongCheckpointError, match=r"rpn\.nms_threshold: 0\.7, now 0\.5"):
        check_same_run(saved, with_group("rpn", nms_threshold=0.5), accept_changes=False)
