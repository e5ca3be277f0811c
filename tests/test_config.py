"""A config is found by its name or its path, and a mistake is named together with what there is."""

import importlib
import sys
from pathlib import Path

import pytest

from pointrend_jax.config import check_field, known_configs, load_config
from tests.shared import REPOSITORY


def test_the_known_names_are_the_experiments_of_the_repository() -> None:
    files = {path.stem for path in (REPOSITORY / "configs").glob("*.py")}
    # What experiments share, and none itself.
    assert set(known_configs()) == files - {"presets"}


@pytest.mark.parametrize("name", known_configs())
def test_every_config_says_its_command_or_its_purpose(name: str) -> None:
    module = importlib.import_module(f"pointrend_jax.configs.{name}")
    assert module.__doc__
    assert "python " in module.__doc__ or name == "base"


def test_name_and_path_give_the_same_config() -> None:
    by_name, by_path = load_config("demo"), load_config(REPOSITORY / "configs" / "demo.py")
    assert by_name.is_locked
    assert by_name.to_dict() == by_path.to_dict()
    # Each call gives its own, so that an override stays in one run.
    assert by_name is not load_config("demo")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "pointrend_r50_fpn_3x_coco",
            r"none that comes with.*mean \w*pointrend_rcnn_r50_fpn_3x_coco",
        ),
        ("presets", r"There are: base, camvid, .*A file is given by its path.*\./presets\.py"),
        (
            "elsewhere/demo.py",
            r"elsewhere/demo\.py is not a file\. The config of that name .*--config demo",
        ),
        (REPOSITORY / "configs" / "cocco.py", r"not a file.*Beside it are.*base\.py"),
    ],
    ids=["close name", "no experiment", "path of one that comes with the package", "neighbours"],
)
def test_config_that_is_not_there_is_told_with_what_is(source: Path | str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "get_config"),
        ("from configs import base\n", "from pointrend_jax.configs import base"),
        ("import configs.base\n", "from pointrend_jax.configs import base"),
        (
            "def get_config():\n    from configs import base\n",
            "from pointrend_jax.configs import base",
        ),
        ("def get_config():\n    pass\n", "must return a ConfigDict.*got NoneType"),
        ("def get_config():\n    return {}\n", "must return a ConfigDict.*got dict"),
    ],
    ids=[
        "nothing in it",
        "from the former package",
        "the former package itself",
        "from the former package, late",
        "nothing returned",
        "no config",
    ],
)
def test_file_that_is_no_config_says_what_to_write(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside a checkout's own folder a file could still find `configs`.
    monkeypatch.setattr("sys.path", [p for p in sys.path if Path(p).resolve() != REPOSITORY])
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_config(path)


@pytest.mark.parametrize("late", [False, True], ids=["at its top", "in its function"])
def test_own_config_builds_on_a_neighbour_and_on_the_package(late: bool, tmp_path: Path) -> None:
    neighbour = f"larger_{late}"
    (tmp_path / f"{neighbour}.py").write_text(
        "from pointrend_jax.configs import demo\n\n\ndef get_config():\n"
        "    config = demo.get_config()\n    config.train.steps = 7\n    return config\n"
    )
    own = [
        f"import {neighbour} as larger", "def get_config():", "    config = larger.get_config()",
        "    config.seed = 3", "    return config",
    ]  # fmt: skip
    if late:
        own[:2] = [own[1], f"    {own[0]}"]
    (tmp_path / "own_experiment.py").write_text("\n".join(own))
    before = list(sys.path)
    config = load_config(tmp_path / "own_experiment.py")
    assert (config.name, config.train.steps, config.seed) == ("demo", 7, 3)
    assert sys.path == before


def test_a_folder_that_a_config_makes_importable_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", list(sys.path))
    before = list(sys.path)
    (tmp_path / "own.py").write_text(
        "import sys\nfrom pointrend_jax.configs.demo import get_config\n"
        "sys.path.append('/elsewhere')\n"
    )
    load_config(tmp_path / "own.py")
    assert sys.path == [*before, "/elsewhere"]


def test_misspelt_field_names_the_close_one_and_all_others() -> None:
    with pytest.raises(
        ValueError, match=r"no field config.train.step\. .*config.train.steps\?.*warmup"
    ):
        check_field(load_config("demo"), "train.step")


def test_field_of_a_plain_value_is_refused() -> None:
    with pytest.raises(ValueError, match="no fields"):
        check_field(load_config("demo"), "train.steps.more")
