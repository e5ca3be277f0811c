"""Links from documents to files of the repository lead to pages with their text.

A document says `[points.py](../pointrend_jax/ops/points.py)`, which is right where the repository
is read as files. On the site the same link leads to a page of the highlighted file, or, of a
folder, to the list of what lies in it.
"""

import ast
import html
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.highlighting import PygmentsBridge

_REPOSITORY = Path(__file__).resolve().parents[2]
_DOCUMENTS = _REPOSITORY / "docs"
# What a link to a document of another folder leads to, and which of those pages include theirs.
_ELSEWHERE = {"README.md": "index", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
_INCLUDING = ("contributing", "changelog")
# Where the paths that a document links to are kept from one build to the next.
_KEPT = "linked_files"
_LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".md": "markdown"}

# Its name, its contents and its template.
_PageOfSite = tuple[str, dict[str, Any], str]


def setup(app: Sphinx) -> dict[str, Any]:
    # Before Sphinx's own collector (500) copies every linked file as a download.
    app.connect("doctree-read", _lead_to_pages, priority=400)
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": True}


def _lead_to_pages(app: Sphinx, doctree: nodes.document) -> None:
    name = app.env.docname
    folder = _REPOSITORY if name in _INCLUDING else _DOCUMENTS
    links = [*doctree.findall(addnodes.pending_xref), *doctree.findall(addnodes.download_reference)]
    for node in links:
        if node.get("reftype") != "myst":
            continue
        written, _, anchor = node["reftarget"].partition("#")
        target = Path(os.path.normpath(folder / written))
        if node["refdomain"] == "doc":  # A document's name, which has no ending.
            target = target.with_name(f"{target.name}.md")
        # Sphinx itself knows what lies in docs/, and complains about what is nowhere.
        if target.is_relative_to(_DOCUMENTS) or not target.exists():
            continue
        path = target.relative_to(_REPOSITORY).as_posix()
        address = app.builder.get_relative_uri(name, _ELSEWHERE.get(path, _page(path)))
        if path not in _ELSEWHERE:
            app.env.metadata[name].setdefault(_KEPT, set()).add(path)
        elif anchor:
            address += f"#{anchor}"
        link = nodes.reference("", "", *node.children, internal=True, refuri=address)
        node.replace_self(link)


def _page(path: str) -> str:
    return f"source/{path}"


def _pages(app: Sphinx) -> Iterator[_PageOfSite]:
    """Of the package and its configs, and of what documents link to."""
    assert isinstance(app.builder, StandaloneHTMLBuilder)
    linked = {Path(path) for name in app.env.found_docs for path in _linked(app, name)}
    for top in ("pointrend_jax", "configs"):
        for folder, folders, files in os.walk(_REPOSITORY / top):
            folders[:] = sorted(f for f in folders if not f.startswith(("_", ".")))
            shown = sorted(f for f in files if Path(f).suffix in _LANGUAGES)
            here = Path(folder).relative_to(_REPOSITORY)
            linked.update(here / file for file in shown)
            yield _folder_page(here, folders, shown)
    for path in sorted(linked):
        if (_REPOSITORY / path).is_file():
            yield _file_page(app.builder.highlighter, path)


def _linked(app: Sphinx, name: str) -> set[str]:
    return app.env.metadata[name].get(_KEPT, set())


def _folder_page(path: Path, folders: list[str], files: list[str]) -> _PageOfSite:
    rows = [(f"{name}/", f"{path.name}/{name}", "") for name in folders]
    rows += [(name, f"{path.name}/{name}", _first_sentence(path / name)) for name in files]
    items = "".join(
        f'<dt><a href="{html.escape(address)}.html"><code>{html.escape(name)}</code></a></dt>'
        f"<dd>{html.escape(said)}</dd>"
        for name, address, said in rows
    )
    title = path.as_posix() + "/"
    body = f"<h1><code>{title}</code></h1><dl>{items}</dl>"
    return _page(path.as_posix()), {"title": title, "body": body}, "page.html"


def _file_page(highlighter: PygmentsBridge, path: Path) -> _PageOfSite:
    text = (_REPOSITORY / path).read_text(encoding="utf-8")
    shown = highlighter.highlight_block(text, _LANGUAGES[path.suffix], linenos="inline")
    body = f"<h1><code>{path.as_posix()}</code></h1>{shown}"
    return _page(path.as_posix()), {"title": path.as_posix(), "body": body}, "page.html"


def _first_sentence(path: Path) -> str:
    """What a file of Python says it is."""
    if path.suffix != ".py":
        return ""
    said = ast.get_docstring(ast.parse((_REPOSITORY / path).read_text(encoding="utf-8")))
    return (said or "").split("\n\n")[0].replace("\n", " ")
