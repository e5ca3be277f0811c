"""A published model by its name: downloaded, converted and kept as a checkpoint, once.

The checkpoint lies in the cache under the model's name and a digest of its address and
configuration, so that one made for another configuration is never opened. It is made beside its
place, by one process at a time, and moved there when it is complete.
"""

import json
import os
import shutil
from pathlib import Path

from pointrend_jax.config import load_config
from pointrend_jax.console import tell_progress
from pointrend_jax.convert import convert
from pointrend_jax.importers.download import explain_disk_errors
from pointrend_jax.importers.published import MODELS
from pointrend_jax.storage import content_key, default_cache_dir, expanded, locked


def is_published(source: Path | str) -> bool:
    """Whether `source` is the name of a published model, and no file or folder of that name is
    here."""
    name = expanded(source)
    return name in MODELS and not os.path.exists(name)


def published_checkpoint(name: str) -> Path:
    """The folder of the checkpoint of a published model, made if it is not there yet.

    Args:
      name: of `MODELS`.
    Raises:
      ValueError: if the weights cannot be had or converted; it says what to do by hand.
      OSError: if the cache cannot be used.
    """
    config = load_config(name)
    key = content_key((MODELS[name].path, json.dumps(config.to_dict(), sort_keys=True)))
    folder = default_cache_dir() / "models" / f"{name}-{key}"
    if folder.is_dir():
        return folder
    with explain_disk_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name}.lock")
        with locked(lock, f"waiting for the process that converts {name}"):
            # Another process may have made it meanwhile.
            if not folder.is_dir():
                unfinished = folder.with_name(f"{folder.name}.part")
                tell_progress(f"{name} is fetched and converted, once")
                # What a process left that was killed.
                shutil.rmtree(unfinished, ignore_errors=True)
                try:
                    convert(name, config, unfinished)
                except ValueError as error:
                    raise ValueError(
                        f"{name}: {error} A file fetched by other means is converted by "
                        f"`pointrend_jax convert --weights FILE --config {name} --output DIR`."
                    ) from error
                unfinished.rename(folder)
                tell_progress(f"{name} is kept in {folder}")
    return folder
