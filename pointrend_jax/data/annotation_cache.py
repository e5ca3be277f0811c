"""Annotation files that are made here, once, and lie in the cache as ordinary COCO files."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_once(path: Path, content: Callable[[], dict[str, Any]]) -> None:
    """Writes what `content` returns as JSON, whole or not at all.

    Raises: ValueError if the folder cannot be written, or whatever `content` raises.
    """
    text = json.dumps(content())
    # Whole or not at all, also if two processes write at once.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text)
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise ValueError(
            f"The annotation file {path} cannot be written ({error.strerror}); free some space or "
            "set config.data.cache_dir."
        ) from error
