"""Writing a checked set into record files once, through a TFDS builder; for every kind of set.

Every image is checked while the files are written, so a damaged one stops the preparation and not
the training. TFDS writes under a temporary name and renames it, so an interrupted preparation
leaves nothing half-made.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import tensorflow_datasets as tfds
from tqdm import tqdm

SPLIT = "images"
# Images decoded ahead of the writer: all at once, a large set would pile up in memory.
_AHEAD = 64
# An error lists this many images.
_LISTED = 20

Item = TypeVar("Item")
Record = TypeVar("Record")


def default_cache_dir() -> Path:
    """$POINTREND_JAX_CACHE, or .cache/pointrend_jax of the home directory."""
    chosen = os.environ.get("POINTREND_JAX_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "pointrend_jax"


def content_key(parts: Iterable[str | bytes]) -> str:
    """A name for what `parts` say about a set; another one when any of them differs."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode())
    return digest.hexdigest()[:16]


def write_records(
    make_builder: Callable[[Path], Any], key: str, cache_dir: Path, name: str, decoders: Any
) -> Sequence[Any]:
    """Random access to the record files, made now if they are not there yet.

    Args:
      make_builder: from their folder to the TFDS builder. Any: pyright sees the methods of TFDS
        through decorators that hide their parameters.
      name: what an error calls the set.
    Raises: ValueError if the cache cannot be written, or whatever the builder's examples raise.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        builder = make_builder(cache_dir / key)
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    # The writer of the records reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"The record files of {name} cannot be written to {cache_dir} ({error}); free some "
            "space or set config.data.cache_dir."
        ) from error
    return builder.as_data_source(split=SPLIT, decoders=decoders)


def checked(
    items: Sequence[Item], check: Callable[[Item], Record | str]
) -> Iterator[tuple[int, Record]]:
    """(index, record) of every item, in order.

    Args:
      check: the record of an item, or in words what is wrong with it.
    Raises: ValueError after the last item, listing what is wrong; from the first wrong one on
      nothing is given out.
    """
    problems: list[str] = []
    results = tqdm(
        _in_order(items, check),
        total=len(items),
        desc="preparing images",
        leave=False,
        disable=None,
    )
    for index, result in enumerate(results):
        if isinstance(result, str):
            problems.append(result)
        elif not problems:
            yield index, result
    if problems:
        more = len(problems) - _LISTED
        listed = problems[:_LISTED] + ([f"and {more} more"] if more > 0 else [])
        raise ValueError(
            f"{len(problems)} of {len(items)} images cannot be used:\n  " + "\n  ".join(listed)
        )


def _in_order(
    items: Sequence[Item], check: Callable[[Item], Record | str]
) -> Iterator[Record | str]:
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(items), _AHEAD):
            yield from pool.map(check, items[start : start + _AHEAD])
