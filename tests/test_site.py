"""The documents and docstrings as `make docs` makes them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.shared import REPOSITORY


def test_the_site_is_made_without_a_warning(tmp_path: Path):
    # Links, docstrings of the API and the table of contents; the dummy builder writes no page.
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "dummy",
            "docs",
            tmp_path,
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.returncode, made.stderr) == (0, "")
