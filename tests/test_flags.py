"""Configs and flags: every config builds, and a mistake is named together with what there is."""

import io
import os
import sys
from pathlib import Path

import jax
import pytest

from pointrend_jax.config import load_config
from pointrend_jax.experiment import check_devices, starting_variables
from pointrend_jax.flags import (
    check_overrides,
    expanded_config,
    with_clear_errors,
)
from pointrend_jax.models.build import build_model
from pointrend_jax.models.build_semantic import build_semantic_model
from pointrend_jax.tasks.build import build_task
from tests.shared import REPOSITORY
from tests.tiny import tiny_config

# `presets` is what experiments share, and none itself.
CONFIGS = sorted(p for p in (REPOSITORY / "configs").glob("*.py") if p.stem != "presets")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_builds_its_model(path: Path) -> None:
    config = load_config(path)
    if config.task == "semantic":
        head = build_semantic_model(config).coarse_head
    else:
        head = build_model(config).box_head
    assert head.num_classes == config.num_classes  # pyright: ignore[reportAttributeAccessIssue]


def test_overrides_are_checked_against_the_given_config() -> None:
    config = str(REPOSITORY / "configs" / "demo.py")
    check_overrides(
        ["--config", config, "--config.train.steps=3", "--config.data.buckets[0]=(32,32)"]
    )
    with pytest.raises(ValueError, match=r"config\.modle"):
        check_overrides([f"--config={config}", "--config.modle.backbone=resnet18"])
    with pytest.raises(ValueError, match="--config is missing"):
        check_overrides(["--config.train.steps=3"])


def test_the_home_folder_is_known_where_no_shell_expands_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = "import ml_collections\nget_config = ml_collections.ConfigDict\n"
    (tmp_path / "own.py").write_text(text)
    assert expanded_config(["train.py", "--config=~/own.py", "--config.data.dir=~/x"]) == [
        "train.py",
        f"--config={tmp_path}/own.py",
        # The field's own reader expands it.
        "--config.data.dir=~/x",
    ]
    assert load_config("~/own.py").is_locked


def test_batch_that_does_not_divide_by_the_devices_is_refused_with_a_proposal() -> None:
    assert jax.device_count() == 2
    config = tiny_config()
    config.train.batch_size = 5
    with pytest.raises(
        ValueError, match=r"train\.batch_size must be a multiple of the 2 devices.*use 4"
    ):
        check_devices(config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("backbone", "resnet51", "config.model.backbone must be one of"),
        ("mask_head", "dense", "config.model.mask_head must be"),
        ("freeze_at", 7, "config.model.freeze_at"),
    ],
)
def test_wrong_model_values_are_named(field: str, value: object, message: str) -> None:
    config = tiny_config()
    config.model[field] = value
    with pytest.raises(ValueError, match=message):
        build_model(config)


def test_unknown_or_unfitting_weights_are_refused() -> None:
    config = tiny_config()
    task = build_task(config)
    config.init.weights = "imagenet"
    with pytest.raises(ValueError, match=r"config\.init\.weights.*got 'imagenet'"):
        starting_variables(config, task)
    config.init.weights = "efficientnet_lite0"
    with pytest.raises(ValueError, match=r"needs config\.model\.backbone"):
        starting_variables(config, task)


def test_text_that_cannot_be_written_is_no_mistake_of_the_user() -> None:
    def action() -> None:
        os.fsdecode(b"caf\xe9").encode()

    with pytest.raises(UnicodeEncodeError):
        with_clear_errors(action)


def test_names_that_are_no_utf8_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    with_clear_errors(lambda: print(os.fsdecode(b"caf\xe9"), flush=True))
    assert written.getvalue() == b"caf\\udce9\n"


def test_ctrl_c_is_one_line_and_the_status_of_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        with_clear_errors(action)
    assert ended.value.code == 130
    assert capsys.readouterr().err.endswith(": interrupted\n")
