"""The page of a report: one file without scripts, styles or pictures of others, for any browser.

It follows the dark or light setting of whoever reads it, and needs no script: that only sorts.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files

from pointrend_jax.evaluation.results import Details, Results
from pointrend_jax.report.markup import Element, element, to_html
from pointrend_jax.report.sections import (
    Pair,
    Section,
    classes_section,
    confusion_section,
    curves_section,
    images_section,
    learning_section,
    scores_section,
    sizes_section,
)

# Nothing may be fetched, whatever a name in the page tries.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def report_page(
    title: str,
    about: Sequence[str],
    results: Results,
    details: Details,
    *,
    pair_of: Callable[[int], Pair],
    metrics: Sequence[Mapping[str, float]] = (),
) -> bytes:
    """The page as an HTML file.

    Args:
      about: lines below the title.
      results, details: of an `Evaluation`.
      pair_of: draws one of the images that `details` names.
      metrics: the records of metrics.jsonl.
    """
    found = [
        scores_section(results),
        images_section(details, pair_of),
        classes_section(results),
        curves_section(details),
        confusion_section(details),
        sizes_section(details),
        learning_section(metrics),
    ]
    sections = [section for section in found if section is not None]
    links = [element("li", element("a", s.heading, href=f"#{s.anchor}")) for s in sections]
    body = element(
        "body",
        element("h1", title),
        *(element("p", line, class_="about") for line in about),
        element("nav", element("ul", *links), aria_label="sections"),
        element("main", *map(_section, sections)),
        element("script", _own_file("sort.js")),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", _own_file("style.css")),
    )
    return to_html(element("html", head, body, lang="en"))


def _section(section: Section) -> Element:
    heading = element("h2", section.heading)
    return element("section", heading, *section.content, id=section.anchor)


def _own_file(name: str) -> str:
    return (files("pointrend_jax.report") / name).read_text(encoding="utf-8")
