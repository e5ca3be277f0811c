"""Links from documents to files of the repository lead to pages with their text.

A document says `[points.py](../pointrend_jax/ops/points.py)`, which is right where the repository
is read as files. On the site the same link leads to a page of the highlighted file, or, of a
folder, to the list of what lies in it.
"""

import ast
import html
import inspect
import os
import re
from collections.abc import Iterator
from functools import partial, reduce
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from pygments.lexers import find_lexer_class_for_filename
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.highlighting import PygmentsBridge

_REPOSITORY = Path(__file__).resolve().parents[2]
_DOCUMENTS = _REPOSITORY / "docs"
# What a link to a document of another folder leads to: the page that includes it.
_ELSEWHERE = {
    "README.md": "index", "README.ko.md": "korean", "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
}  # fmt: skip
# Where the paths that a document links to are kept from one build to the next.
_KEPT = "linked_files"
# What has pages whether it is linked to or not.
_ALWAYS = ("pointrend_jax", "configs")

# How the anchor of a line begins.
_LINE = "line"

# Its name, its contents and its template.
_PageOfSite = tuple[str, dict[str, Any], str]


def setup(app: Sphinx) -> dict[str, Any]:
    # Before Sphinx's own collector (500) copies every linked file as a download.
    app.connect("doctree-read", _lead_to_pages, priority=400)
    app.connect("html-collect-pages", _pages)
    app.connect("config-inited", lambda app, config: setattr(config, "linkcode_resolve", _source))
    # Before the theme (500) makes the tree of contents.
    app.connect("html-page-context", partial(_share_tree, {}), priority=400)
    app.connect("build-finished", _lead_pictures_to_pages)
    return {"parallel_read_safe": True}


def _lead_to_pages(app: Sphinx, doctree: nodes.document) -> None:
    name = app.env.docname
    links = [*doctree.findall(addnodes.pending_xref), *doctree.findall(addnodes.download_reference)]
    for node in links:
        if node.get("reftype") != "myst":
            continue
        written, _, anchor = node["reftarget"].partition("#")
        if node["refdomain"] == "doc":  # A document's name, which has no ending.
            written += ".md"
        # Pages that include a document of the repository's top have its links as they are there.
        places = [Path(os.path.normpath(f / written)) for f in (_DOCUMENTS, _REPOSITORY)]
        target = next((place for place in places if place.exists()), _DOCUMENTS)
        # Sphinx itself knows what lies in docs/, and complains about what is nowhere.
        if target.is_relative_to(_DOCUMENTS):
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
    linked |= {Path(top) for top in _ALWAYS}
    files = {path for path in linked if (_REPOSITORY / path).is_file()}
    folders: dict[Path, tuple[list[str], list[str]]] = {}
    for top in linked - files:
        for folder, inner, names in os.walk(_REPOSITORY / top):
            inner[:] = sorted(f for f in inner if not f.startswith(("_", ".")))
            shown = sorted(f for f in names if not f.startswith("."))
            here = Path(folder).relative_to(_REPOSITORY)
            files.update(here / name for name in shown)
            folders[here] = (inner, shown)
    for here, (inner, shown) in folders.items():
        yield _folder_page(here, inner, shown)
    for path in sorted(files):
        yield _file_page(app.builder.highlighter, path)


def _linked(app: Sphinx, name: str) -> set[str]:
    return app.env.metadata[name].get(_KEPT, set())


def _folder_page(path: Path, folders: list[str], files: list[str]) -> _PageOfSite:
    rows = [(f"{name}/", f"{path.name}/{name}", "") for name in folders]
    rows += [(name, f"{path.name}/{name}", _first_sentence(path / name)) for name in files]
    items = "".join(
        f'<dt><a href="{html.escape(quote(address))}.html"><code>{html.escape(shown)}</code></a>'
        f"</dt><dd>{html.escape(said)}</dd>"
        for shown, address, said in rows
    )
    return _page_of(path, f"<dl>{items}</dl>", ending="/")


def _file_page(highlighter: PygmentsBridge, path: Path) -> _PageOfSite:
    content = (_REPOSITORY / path).read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return _page_of(path, f"<p>{len(content)} bytes that are no text.</p>")
    lexer = find_lexer_class_for_filename(path.name)
    language = lexer.aliases[0] if lexer else "text"
    # By force, since what a lexer does not know in a file is no fault of the documents.
    shown = highlighter.highlight_block(
        text, language, force=True, linenos="inline", lineanchors=_LINE
    )
    return _page_of(path, shown)


def _page_of(path: Path, content: str, *, ending: str = "") -> _PageOfSite:
    title = html.escape(path.as_posix() + ending)
    body = f"<h1><code>{title}</code></h1>{content}"
    return _page(path.as_posix()), {"title": title, "body": body}, "page.html"


def _source(domain: str, info: dict[str, str]) -> str | None:
    """Where a function or class of the API's page is written, from that page; None of values."""
    try:
        thing: Any = reduce(getattr, info["fullname"].split("."), import_module(info["module"]))
        thing = inspect.unwrap(getattr(thing, "fget", thing))
        path = Path(inspect.getsourcefile(thing) or "").relative_to(_REPOSITORY)
        first = inspect.getsourcelines(thing)[1]
    except (AttributeError, TypeError, ValueError):
        return None
    return f"{_page(path.as_posix())}.html#{_LINE}-{first}"


def _share_tree(
    trees: dict[object, str],
    app: Sphinx,
    name: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Pages that are no documents have one tree of contents, of which only the links differ.

    Making it takes longer than all the rest of a page.
    """
    if doctree is not None or "toctree" not in context:
        return
    make = context["toctree"]

    def tree(**options: Any) -> str:
        key = (name.count("/"), *sorted(options.items()))
        if key not in trees:
            trees[key] = make(**options)
        return trees[key]

    context["toctree"] = tree


def _lead_pictures_to_pages(app: Sphinx, error: Exception | None) -> None:
    """The same for links within pictures, which are copied as they are."""
    if error is not None or not isinstance(app.builder, StandaloneHTMLBuilder):
        return
    out = Path(app.outdir)
    for picture in [*out.glob("_images/*.svg"), *out.glob("_downloads/*/*.svg")]:
        to_top = "../" * (len(picture.relative_to(out).parts) - 1)
        text = picture.read_text(encoding="utf-8")
        led = re.sub(r'href="\.\./([^"#]+)', rf'href="{to_top}{_page("")}\1.html', text)
        picture.write_text(led, encoding="utf-8")


def _first_sentence(path: Path) -> str:
    """What a file of Python says it is."""
    if path.suffix != ".py":
        return ""
    said = ast.get_docstring(ast.parse((_REPOSITORY / path).read_text(encoding="utf-8")))
    return (said or "").split("\n\n")[0].replace("\n", " ")
