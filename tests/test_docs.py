"""The documents keep up with the code: links lead somewhere, commands parse, floors are checked."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_collections import ConfigDict
from PIL import Image

import pointrend_jax
from pointrend_jax.cli import COMMANDS, command_parser
from pointrend_jax.cli.overrides import apply_overrides, split_overrides
from pointrend_jax.cli.parser import hyphened
from pointrend_jax.config import known_configs, load_config
from tests.shared import REPOSITORY

_DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])


def _links(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r'\]\(([^)\s]+)\)|href="([^"]+)"', text)
    return [a or b for a, b in targets if not (a or b).startswith(("http", "#"))]


@pytest.mark.parametrize(
    "document", [*_DOCUMENTS, REPOSITORY / "docs/architecture.svg"], ids=lambda path: path.name
)
def test_every_link_of_a_document_leads_to_a_file(document: Path):
    dead = [
        link for link in _links(document) if not (document.parent / link.split("#")[0]).exists()
    ]
    assert not dead


def test_every_anchor_of_a_link_is_a_heading():
    for document in _DOCUMENTS:
        for link in _links(document):
            path, _, anchor = link.partition("#")
            if anchor:
                headings = re.findall(r"^#+ (.*)$", (document.parent / path).read_text(), re.M)
                assert anchor in {h.lower().replace(" ", "-") for h in headings}, link


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: path.name)
def test_every_field_that_a_document_names_is_a_field(document: Path):
    config = load_config("base")
    # A name that ends in a dot, a star or a slash stands for several.
    named = re.findall(
        r"(?<![\w./])config((?:\.[a-z_0-9]+)+)(?![\w.*/(])", document.read_text("utf-8")
    )
    unknown = []
    for name in named:
        part: Any = config
        for key in name[1:].split("."):
            part = part.get(key) if isinstance(part, ConfigDict) else None
        if part is None and not name.endswith(".py"):
            unknown.append(f"config{name}")
    assert not unknown


def test_the_floors_of_the_document_are_those_that_the_linter_checks():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = [re.sub(r"[()]", "", layer).replace(" : ", "  ") for layer in layers]
    text = (REPOSITORY / "docs/architecture.md").read_text()
    assert "\n".join(["```", "train.py  eval.py", *floors, "```"]) in text


_COMMAND = re.compile(
    r"(?:python (?P<script>train|eval)\.py"
    rf"|pointrend_jax (?P<name>{'|'.join(COMMANDS)})) (?P<rest>.*)"
)


def _commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a text, each with its arguments as the shell would give them."""
    found = []
    for match in _COMMAND.finditer(re.sub(r"\\\n\s*", " ", text)):
        # What ends a command in a shell, a sentence or a list of alternatives.
        rest = re.split(r" [>&|#]|`|\)$|&&|;", match["rest"])[0]
        rest = re.sub(r"\$\w+", "1", rest)
        arguments = shlex.split(rest if rest.count("'") % 2 == 0 else rest.removesuffix("'"))
        # In the midst of a sentence a command may stand without its flags.
        if any(a.startswith("--") for a in arguments) and arguments != ["--help"]:
            found.append((match["script"] or match["name"], arguments))
    return found


def _check(command: str, arguments: list[str]) -> None:
    """Raises ValueError or SystemExit unless the command line could run, files of users aside."""
    if "..." in arguments:
        arguments = ["--config=demo", "--workdir=W", *(a for a in arguments if a != "...")]
    overrides, others = split_overrides(arguments)
    args = command_parser(command).parse_args([hyphened(argument) for argument in others])
    name = getattr(args, "config", None)
    # A file beside the reader is one that the document shows.
    if name is not None and not name.startswith("./"):
        in_repository = name.startswith("configs/")
        apply_overrides(load_config(REPOSITORY / name if in_repository else name), overrides)


def _written() -> list[tuple[str, str]]:
    texts = [(path.name, path.read_text(encoding="utf-8")) for path in _DOCUMENTS]
    for name in [*known_configs(), "presets"]:
        source = (REPOSITORY / "configs" / f"{name}.py").read_text(encoding="utf-8")
        texts.append((name, ast.get_docstring(ast.parse(source)) or ""))
    return [(name, text) for name, text in texts if _commands(text)]


@pytest.mark.parametrize(("name", "text"), _written(), ids=[name for name, _ in _written()])
def test_every_command_that_is_written_down_parses_and_its_config_loads(name: str, text: str):
    for command, arguments in _commands(text):
        try:
            _check(command, arguments)
        except (ValueError, SystemExit) as error:
            raise AssertionError(f"{name}: {command} {shlex.join(arguments)}: {error}") from error


def test_the_commands_are_found_where_they_are_written():
    commands = {command for _, text in _written() for command, _ in _commands(text)}
    assert commands == {*COMMANDS}
    text = "run `pointrend_jax eval --workdir 'a b'` or\n  python train.py --x \\\n  --y 1"
    assert _commands(text) == [
        ("eval", ["--workdir", "a b"]),
        ("train", ["--x", "--y", "1"]),
    ]


def test_the_tutorial_takes_its_photos_from_the_archive_as_it_is_published(tmp_path: Path):
    text = (REPOSITORY / "docs/tutorial.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```sh\nunzip -q PennFudanPed.zip\n(.*?)```", text, re.S)
    for number in range(1, 75):
        for name in (f"PNGImages/FudanPed{number:05}", f"PedMasks/FudanPed{number:05}_mask"):
            path = tmp_path / f"PennFudanPed/{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (3, 2)).save(path)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-eu", "-c", lines], cwd=tmp_path, env=os.environ | {"PATH": programs}, check=True
    )
    photos, masks, new = (
        sorted(path.stem for path in tmp_path.glob(f"{folder}/*"))
        for folder in ("photos/PNGImages", "photos/PedMasks", "new")
    )
    assert len(photos) == 20
    assert masks == [f"{photo}_mask" for photo in photos]
    # As its outputs name them.
    assert new == [f"FudanPed000{number}" for number in (59, 63, 65)]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == pointrend_jax.__version__
    assert citation["license"] == "Apache-2.0"
    assert citation["references"][0]["title"] == "PointRend: Image Segmentation as Rendering"
