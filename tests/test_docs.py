"""The documents keep up with the code: links lead somewhere, floors are those that are checked."""

import re
import tomllib
from pathlib import Path

import pytest

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


def test_the_floors_of_the_document_are_those_that_the_linter_checks():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = [re.sub(r"[()]", "", layer).replace(" : ", "  ") for layer in layers]
    text = (REPOSITORY / "docs/architecture.md").read_text()
    assert "\n".join(["```", "train.py  eval.py", *floors, "```"]) in text
