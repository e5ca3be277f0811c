"""The results of an evaluation for people (a table) and for programs (a JSON file)."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointrend_jax.evaluation.coco import Results

# Rows of the table: what it says, and the key in "rendered" and "coarse".
_ROWS = (
    ("mask AP", "mask_ap"),
    ("mask AP50", "mask_ap50"),
    ("mask AP75", "mask_ap75"),
    ("mask AP small", "mask_ap_small"),
    ("mask AP medium", "mask_ap_medium"),
    ("mask AP large", "mask_ap_large"),
    ("boundary AP", "boundary_ap"),
    ("boundary AP50", "boundary_ap50"),
    ("boundary AP75", "boundary_ap75"),
)


def format_results(results: Results) -> str:
    """A plain-text table, coarse beside rendered, in percent; "-" where nothing was to be found."""
    rendered, coarse, box = results["rendered"], results["coarse"], results["box"]
    lines = [f"{'':<16}{'coarse':>9}{'rendered':>10}{'gain':>8}"]
    for label, key in _ROWS:
        before, after = coarse[key], rendered[key]
        gain = None if before is None or after is None else after - before
        row = f"{_percent(before):>9}{_percent(after):>10}{_percent(gain, sign=True):>8}"
        lines.append(f"{label:<16}{row}")
    names = (("box AP", "box_ap"), ("AP50", "box_ap50"), ("AP75", "box_ap75"))
    lines.append("   ".join(f"{label} {_percent(box[key])}" for label, key in names))
    return "\n".join(lines)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all: under a temporary name beside it, then renamed.

    Raises: ValueError if the folder can't be written to or is full, or a value is no JSON (NaN).
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        # mkstemp gives a file that only its owner can read.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ValueError(f"Cannot write {path}: {error.strerror}.") from error


def _percent(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
