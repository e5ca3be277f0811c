"""The documents keep up with the code: their links lead somewhere."""

import re
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
