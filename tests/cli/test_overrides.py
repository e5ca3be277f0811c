"""Fields on the command line: each type as it is written, and mistakes with what would be right."""

from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from pointrend_jax.cli.overrides import Override, apply_overrides, split_overrides
from pointrend_jax.config import load_config


def _value(*arguments: str, field: str) -> Any:
    overrides, others = split_overrides(arguments)
    assert not others
    config = apply_overrides(load_config("base"), overrides)
    for part in field.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize(
    ("arguments", "field", "expected"),
    [
        (["--config.train.steps=100"], "train.steps", 100),
        (["--config.train.steps", "100"], "train.steps", 100),
        (["--config.train.steps=90_000"], "train.steps", 90_000),
        (["--config.train.steps=1", "--config.train.steps=2"], "train.steps", 2),
        (["--config.train.learning_rate=1"], "train.learning_rate", 1.0),
        (["--config.train.learning_rate=2e-3"], "train.learning_rate", 0.002),
        (["--config.train.remat=True"], "train.remat", True),
        (["--config.train.remat=false"], "train.remat", False),
        (["--config.train.remat"], "train.remat", True),
        (["--config.train.remat", "--config.seed=1"], "train.remat", True),
        (["--noconfig.data.filter_empty_annotations"], "data.filter_empty_annotations", False),
        (["--config.data.dir=~/x=y"], "data.dir", "~/x=y"),
        (["--config.data.dir="], "data.dir", ""),
        (["--config.init.weights=123"], "init.weights", "123"),
        (["--config.data.buckets=((32,64),(64,32))"], "data.buckets", ((32, 64), (64, 32))),
        (["--config.train.milestones=[5, 7]"], "train.milestones", (5, 7)),
        (["--config.train.milestones=5"], "train.milestones", (5,)),
        (["--config.train.milestones=()"], "train.milestones", ()),
        (["--config.init.reset=box_head/deltas"], "init.reset", ("box_head/deltas",)),
        (["--config.init.reset=('a','b')"], "init.reset", ("a", "b")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_value_is_read_as_the_type_of_its_field(
    arguments: list[str], field: str, expected: Any
) -> None:
    value = _value(*arguments, field=field)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "--config.train.step=1",
            r"no field config\.train\.step\. Did you mean config\.train\.steps",
        ),
        ("--config.modle.backbone=x", r"no field config\.modle"),
        ("--config.data.buckets[0]=(32,32)", r"Did you mean config\.data\.buckets\?"),
        ("--config.train=1", r"config\.train is a group.*--config\.train\.\w+=VALUE"),
        ("--config.train.steps", r"train\.steps needs a value.*steps=90000"),
        ("--config.train.steps=many", r"whole number from 1 to .*got 'many'"),
        ("--config.train.steps=1.5", r"whole number from 1 to .*got '1\.5'"),
        ("--config.train.learning_rate=fast", r"a number of at least 0.*got 'fast'"),
        ("--config.train.remat=perhaps", r"True or False, got 'perhaps'"),
        ("--config.data.class_names=person,car", r"every text in quotes"),
        ("--config.data.class_names=(person)", r"every text in quotes"),
        ("--config.train.milestones={5: 7}", r"written as in Python"),
        ("--noconfig.train.remat=True", r"False by itself; leave out =True"),
    ],
)
def test_mistake_is_told_with_what_is_right(argument: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply_overrides(load_config("base"), split_overrides([argument])[0])


def test_field_that_has_no_type_yet_takes_any() -> None:
    config = ConfigDict({"one": None, "two": None}).lock()
    apply_overrides(config, [Override("one", "3"), Override("two", "some text")])
    assert (config.one, config.two) == (3, "some text")


def test_other_flags_are_left_in_their_order() -> None:
    overrides, others = split_overrides(
        ["--workdir", "runs/a", "--config.seed", "3", "--config=demo", "--accept_changes"]
    )
    assert overrides == [Override("seed", "3")]
    assert others == ["--workdir", "runs/a", "--config=demo", "--accept_changes"]


def test_the_home_folder_is_known_where_no_shell_expands_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = "import ml_collections\nget_config = ml_collections.ConfigDict\n"
    (tmp_path / "own.py").write_text(text)
    assert load_config("~/own.py").is_locked
