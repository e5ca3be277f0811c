"""The site as `make docs` makes it: every page, every link between pages, every public name."""

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

import pointrend_jax
from tests.shared import REPOSITORY


class _Page(HTMLParser):
    """What one can link to in a page, where its links lead, and its visible text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name == "id":
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.links.add(value)


class _Site(NamedTuple):
    """The folder with the pages, and what Sphinx said when it wrote them."""

    folder: Path
    said: tuple[int, str]

    def page(self, name: str) -> _Page:
        return _Page((self.folder / f"{name}.html").read_text(encoding="utf-8"))

    def dead_links(self) -> list[str]:
        """Those within the site, of pages and of pictures, that lead to no file or anchor."""
        files = sorted(p for p in self.folder.rglob("*") if p.suffix in (".html", ".svg"))
        pages = {path: _Page(path.read_text(encoding="utf-8")) for path in files}
        dead = []
        for path, page in pages.items():
            for link in page.links:
                to = urlsplit(link)
                if to.scheme or to.netloc:
                    continue
                target = (path.parent / unquote(to.path)).resolve() if to.path else path
                anchors = pages[target].anchors if target in pages else {to.fragment}
                if not target.is_file() or (to.fragment and unquote(to.fragment) not in anchors):
                    dead.append(f"{path.relative_to(self.folder)}: {link}")
        return dead


def _make(documents: Path, folder: Path) -> _Site:
    made = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", documents, folder],
        cwd=documents.parent,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    return _Site(folder.resolve(), (made.returncode, made.stderr))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> _Site:
    made = _make(REPOSITORY / "docs", tmp_path_factory.mktemp("site"))
    # Links, docstrings of the API and the table of contents.
    assert made.said == (0, "")
    return made


def test_every_link_of_the_site_leads_to_a_page_and_an_anchor(site: _Site) -> None:
    assert site.dead_links() == []
    # The files of the package have theirs, and so have those elsewhere that a document names.
    names = ("pointrend_jax", "pointrend_jax/explore/page/main.js", "configs/demo.py")
    for name in (*names, "requirements.txt", "tests/ops/test_limits.py", "LICENSE"):
        page = (site.folder / f"source/{name}.html").read_text(encoding="utf-8")
        assert f"<h1><code>{name}" in page


def test_every_public_name_is_on_the_page_of_the_api_as_it_is_imported(site: _Site) -> None:
    names = [anchor.split(".") for anchor in site.page("api").anchors]
    # Of modules, whose names are small, not of classes; so none is there twice.
    named = [name for name in names if name[-1] in pointrend_jax.__all__ and name[-2].islower()]
    public = {f"pointrend_jax.{name}" for name in pointrend_jax.__all__}
    assert {".".join(name) for name in named} == public
    text = (site.folder / "api.html").read_text(encoding="utf-8")
    # What fields of named tuples are says the docstring of their class.
    assert "Alias for field number" not in text
    assert "<strong>line_width</strong>" in text


def test_the_front_page_says_how_to_begin(site: _Site) -> None:
    text = (site.folder / "index.html").read_text(encoding="utf-8")
    article = text[text.index("<article") : text.index("</article>")]
    for heading in ("install", "masks-on-your-photo", "a-model-from-your-folder", "status"):
        assert f'id="{heading}"' in article
    assert 'src="_images/rendering.png"' in article
    # The list of all pages is beside it.
    assert "toctree-l1" not in article
    assert "toctree-l1" in text


def test_files_and_folders_of_any_kind_have_a_page(tmp_path: Path) -> None:
    linked = ("notes.txt", "Makefile", "a & b.odd", "photo.bin", "parts", "parts/deep/x.py")
    (tmp_path / "pointrend_jax").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    (tmp_path / "parts" / "deep" / "x.py").write_text('"""Says <what> it is."""\n')
    (tmp_path / "notes.txt").write_text("some <notes>\n")
    (tmp_path / "Makefile").write_text("all:\n\techo\n")
    (tmp_path / "a & b.odd").write_text("odd\n")
    (tmp_path / "photo.bin").write_bytes(b"\xff\x00\xfe")
    (tmp_path / "parts" / "style.css").write_text("no { sheet\n")
    documents = tmp_path / "docs"
    extension = Path("_ext", "source_pages.py")
    (documents / "_ext").mkdir(parents=True)
    shutil.copy(REPOSITORY / "docs" / extension, documents / extension)
    (documents / "conf.py").write_text(
        f"import sys\nsys.path.append({str(documents / '_ext')!r})\n"
        "extensions = ['myst_parser', 'source_pages']\nhtml_theme = 'basic'\n"
    )
    links = "".join(f"[{i}](<../{name}>)\n" for i, name in enumerate(linked))
    picture = '<svg xmlns="http://www.w3.org/2000/svg"><a href="../parts/deep/x.py"/></svg>'
    (documents / "drawn.svg").write_text(picture)
    (documents / "index.md").write_text(f"# A site\n\n{links}\n[picture](drawn.svg)\n")
    made = _make(documents, tmp_path / "site")
    assert made.said == (0, "")
    assert made.dead_links() == []
    texts = {name: (made.folder / f"source/{name}.html").read_text() for name in linked}
    assert "some &lt;notes&gt;" in texts["notes.txt"]
    assert "3 bytes that are no text" in texts["photo.bin"]
    assert "deep/" in texts["parts"]
    assert "Says &lt;what&gt; it is." in (made.folder / "source/parts/deep.html").read_text()
    # A folder that is linked has pages of all that it shows.
    assert "sheet" in (made.folder / "source/parts/style.css.html").read_text()
