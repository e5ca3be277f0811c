"""Where the larger reference material lies; tests run without it and say what they left out."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("POINTREND_JAX_SHARED", REPOSITORY.parent / "shared"))


def shared_path(relative: str) -> Path:
    """The path of `relative` in the shared folder; skips the test where it is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs {relative} of the shared folder (set POINTREND_JAX_SHARED)")
    return path
