"""The wheel: what is in it, and that it works from an empty folder, beside no checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import pointrend_jax
from pointrend_jax.cli import COMMANDS
from pointrend_jax.cli.extras import MODULES
from tests.shared import REPOSITORY

_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "configs", "pointrend_jax")


def _setuptools() -> int:
    try:
        return int(version("setuptools").partition(".")[0])
    except PackageNotFoundError:
        return 0


pytestmark = pytest.mark.skipif(
    _setuptools() < 77, reason="building a wheel needs setuptools 77: pip install -U setuptools"
)


def _built(sources: Path, what: str) -> Path:
    """The wheel or sdist of `sources`, which the build may write into."""
    (sources / "dist").mkdir()
    build = f"from setuptools import build_meta; build_meta.build_{what}('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=sources, check=True, capture_output=True)
    (result,) = (sources / "dist").iterdir()
    return result


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "checkout"
    folder.mkdir()
    for name in _SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(
                REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    """By way of the sdist, as it would be published."""
    sdist = _built(sources, "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(sources.parent, filter="data")
    return _built(sources.parent / sdist.name.removesuffix(".tar.gz"), "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel brings, unpacked."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_the_package_with_its_configs_and_nothing_else(installed: Path) -> None:
    def files(folder: Path) -> set[str]:
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    package = {f for f in files(REPOSITORY / "pointrend_jax") if "__pycache__" not in f}
    configs = {f"configs/{path.name}" for path in (REPOSITORY / "configs").glob("*.py")}
    assert files(installed / "pointrend_jax") == package | configs
    # No package `configs` of its own, which would be in everybody's way.
    metadata = f"pointrend_jax-{pointrend_jax.__version__}.dist-info"
    assert {path.name for path in installed.iterdir()} == {"pointrend_jax", metadata}


def _run(code: str, installed: Path, folder: Path) -> str:
    """What the program prints that runs in `folder` with what was unpacked alone."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(installed)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_command_helps_and_every_config_loads_in_an_empty_folder(
    installed: Path, tmp_path: Path
) -> None:
    code = f"""
import contextlib
from pathlib import Path
import pointrend_jax
from pointrend_jax.cli import COMMANDS, main
from pointrend_jax.config import known_configs, load_config
assert Path(pointrend_jax.__file__).is_relative_to({str(installed)!r})
for command in ("", *COMMANDS):
    with contextlib.suppress(SystemExit):
        main([command, "--help"] if command else ["--version"])
for name in known_configs():
    load_config(name)
print(len(known_configs()), "configs")
"""
    printed = _run(code, installed, tmp_path)
    assert printed.startswith(f"pointrend_jax {pointrend_jax.__version__}\nusage: ")
    assert printed.count("usage: pointrend_jax ") == len(COMMANDS)
    number = len(list((REPOSITORY / "configs").glob("*.py"))) - 1  # without presets
    assert printed.endswith(f"\n{number} configs\n")


def test_predicting_imports_nothing_that_only_training_needs(
    installed: Path, tmp_path: Path
) -> None:
    modules = MODULES["train"]
    code = f"""
import sys
import pointrend_jax.cli.predict, pointrend_jax.convert
print(sorted(sys.modules.keys() & set({modules!r})))
"""
    assert _run(code, installed, tmp_path) == "[]\n"
