"""Annotation files that are made here, once, and lie in the cache as ordinary COCO files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pointrend_jax.storage import write_whole


def write_once(path: Path, content: Callable[[], dict[str, Any]]) -> None:
    """Writes what `content` returns as JSON, whole or not at all.

    Raises: ValueError if the folder cannot be written, or whatever `content` raises.
    """
    text = json.dumps(content()).encode()
    try:
        write_whole(path, text)
    except ValueError as error:
        raise ValueError(
            f"The annotation file {path} cannot be written ({error}); free some space or set "
            "config.data.cache_dir."
        ) from error
