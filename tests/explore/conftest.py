"""A real browser, for what a person does on the page. Where there is none, tests skip by name."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


# Of a module: the loop of events that it brings would be in the way of tests that have their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs a browser: apt-get install chromium, or $CHROMIUM")
    # As long as a machine may take that does other things too.
    playwright.expect.set_options(timeout=30_000)
    with playwright.sync_playwright() as running:
        # The sandbox needs rights that a container may lack; the page is ours.
        own = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield own
        own.close()
