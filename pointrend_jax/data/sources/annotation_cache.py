"""Annotation files that are made here, once, and lie in the cache as ordinary COCO files."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pointrend_jax.coco_file import load_coco_file
from pointrend_jax.data.sources.coco import check_coco, image_in_folder
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.storage import content_key, write_whole


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


def objects_from_coco(content: dict[str, Any], images: Path, cache_dir: Path) -> FoundObjects:
    """The checked set of a dictionary in COCO's format, which is kept as a file in the cache.

    Args:
      content: "images" (id, file_name, height, width), "categories" (id, name) and "annotations"
        (id, image_id, category_id, segmentation; bbox and area are taken from the mask where they
        lack). Ids are whole numbers from 1 on.
      images: the folder that every "file_name" is relative to.
    Raises: ValueError, as `read_coco`, for what is no such dictionary, or if the cache cannot be
      written.
    """
    path = cache_dir / f"objects-{content_key([json.dumps(content, sort_keys=True)])}.json"
    if not path.is_file():
        write_once(path, lambda: content)
    return FoundObjects(
        check_coco(load_coco_file(path), path, partial(image_in_folder, images)), path
    )
