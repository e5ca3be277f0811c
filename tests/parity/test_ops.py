"""Every operation equals Detectron2's, on the tracked subset and on a whole kit if there is one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from parity.compare import compare
from parity.host import HOST_FILES
from parity.ops import OP_FILES, load
from tests.shared import REPOSITORY, shared_path

GOLDEN = REPOSITORY / "parity" / "golden" / "ops"
# They need photos, which the repository does not hold.
WITH_PHOTOS = {"color_aug_ssd", "crowd_rle", "gt_masks", "resize"}


def _golden(name: str) -> Path:
    if name in WITH_PHOTOS:
        return shared_path(f"parity/ops/{name}.npz")
    return GOLDEN / f"{name}.npz"


@pytest.mark.parametrize("name", sorted(OP_FILES.keys() | HOST_FILES.keys()))
def test_operation_equals_the_reference(name: str) -> None:
    _check(name)


@pytest.mark.parametrize("name", ["roi_align", "roi_pooler"])
def test_windows_equal_the_reference(name: str, trace_for: Callable[[str], None]) -> None:
    trace_for("gpu")
    _check(name)


def _check(name: str) -> None:
    path = _golden(name)
    checks = OP_FILES[name](load(path)) if name in OP_FILES else HOST_FILES[name](path)
    rows = [compare(name, check) for check in checks]
    assert rows
    missed = [row for row in rows if not row.passed]
    assert not missed, "\n".join(str(row) for row in missed)
