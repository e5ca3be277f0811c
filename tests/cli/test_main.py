"""The commands: their help, their flags in either spelling, and what they say of mistakes."""

import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import pointrend_jax
from pointrend_jax.cli import COMMANDS, command_parser, extras, main
from pointrend_jax.cli.overrides import split_overrides
from pointrend_jax.cli.parser import hyphened
from pointrend_jax.data.records.write import IMAGES_PER_SHARD
from pointrend_jax.data.sources.known import SPLITS, known_releases
from tests.shared import REPOSITORY


def _printed(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code
    return capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert _printed(["--version"], capsys) == f"pointrend_jax {pointrend_jax.__version__}\n"


def test_the_help_of_all_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = _printed(["--help"], capsys)
    assert all(re.search(rf"^  {command} +\w", text, re.M) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_two_examples_that_parse(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = _printed([command, "--help"], capsys)
    assert text.count(f"\n  pointrend_jax {command}") == 2
    for example in re.findall(rf"^  pointrend_jax {command}(.*)$", text, re.M):
        arguments = split_overrides(example.split())[1]
        command_parser(command).parse_args([hyphened(argument) for argument in arguments])


@pytest.mark.parametrize("command", ["train", "eval"])
def test_help_of_a_run_shows_the_fields_of_its_config(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "\n--config.train.\n  steps=90000\n" in _printed([command, "--help"], capsys)


def test_the_help_of_prepare_knows_the_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(_printed(["prepare", "--help"], capsys).split())
    assert f"--dataset NAME {', '.join(known_releases())}; folder is any in COCO's format" in text
    assert f"one shard ({IMAGES_PER_SHARD})" in text
    assert all(f"--{split}-annotations" in text for split in SPLITS)


def test_a_flag_may_have_underscores_or_hyphens() -> None:
    parser = command_parser("train")
    flags = ["--config=own_name", "--workdir=a_b", "--accept_changes", "--num_processes=2"]
    args = parser.parse_args([hyphened(flag) for flag in flags])
    assert args.accept_changes
    assert (args.config, args.workdir, args.num_processes) == ("own_name", "a_b", 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["trian"], "invalid choice: 'trian' .*train"),
        (["train", "--config", "demo"], "pointrend_jax train: .*required: --workdir"),
        (["train", "--config=demo", "--workdir=a", "--wrokdir=b"], "unrecognized.*--wrokdir=b"),
        (["train", "--config=demo", "--work=a"], "required: --workdir"),
        (["eval", "--workdir=a", "--num-processes=0"], "whole number of at least 1, got '0'"),
        (["predict", "--checkpoint", "~nobody-here/x"], "nobody-here"),
    ],
)
def test_wrong_flags_end_with_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--workdir=a", "--config=demmo"], "Did you mean demo"),
        (["convert", "--weights=a", "--output=b", "--config=demmo"], "Did you mean demo"),
        (["demo", "--config=demmo"], "Did you mean demo"),
        (["demo", "--config.train.step=1"], r"config\.train\.steps\?"),
        (["eval", "--workdir=a", "--config.train.steps=1"], r"train\.steps .*--config is missing"),
        (["prepare", "--dataset=coca", "--source=a", "--data-dir=b"], "--dataset must be one of"),
    ],
)
def test_wrong_values_are_refused_with_what_there_is(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(arguments)


def test_an_imported_file_runs_before_the_config_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "beside.py").write_text("WORDS = 'a part was added'\n")
    # A dataclass looks up the module that it is made in.
    (tmp_path / "part.py").write_text(
        "from __future__ import annotations\nimport dataclasses\nimport beside\n\n\n"
        "@dataclasses.dataclass\nclass Part:\n    words: str\n\n\n"
        "print(Part(beside.WORDS).words)\n"
    )
    imported = ["--import", str(tmp_path / "part.py"), "--import", str(tmp_path / "part.py")]
    with pytest.raises(ValueError, match="Did you mean demo"):
        main(["train", "--workdir=a", "--config=demmo", *imported])
    assert capsys.readouterr().out == 2 * "a part was added\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prat.py", r"^--import .*prat\.py is not a file\. Beside it are: .*part\.py"),
        ("part.txt", r"^--import .*part\.txt must be a Python file"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(name: str, message: str, tmp_path: Path) -> None:
    for there in ("part.py", "part.txt"):
        (tmp_path / there).write_text("")
    with pytest.raises(ValueError, match=message):
        main(["demo", "--import", str(tmp_path / name)])


def test_command_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.MODULES, "train", ("json", "no_such_module"))
    with pytest.raises(
        ValueError, match=r"`train` needs no_such_module, .* 'pointrend_jax\[train\]'"
    ):
        main(["train", "--config=demo", "--workdir=a"])
    with pytest.raises(ValueError, match=r" 'pointrend_jax\[train,pretrained\]'"):
        main(["demo"])


@pytest.mark.parametrize("script", ["train", "eval"])
def test_the_scripts_of_a_checkout_are_the_commands(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(Path(REPOSITORY) / f"{script}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == command_parser(script).format_help()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scale", "0"], "scale must be above 0"),
        (["--line-width", "-2"], "line_width must be a positive number"),
        (["--font", "absent.ttf"], "the font absent.ttf cannot be read"),
    ],
    ids=["scale", "line width", "font"],
)
def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_read(
    flags: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        main(["predict", "absent.jpg", "--checkpoint", "absent", "--output", "out", *flags])
