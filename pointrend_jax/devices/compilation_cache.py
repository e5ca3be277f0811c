"""Compiled programs that outlive the process, so that the second start is quick."""

import functools
import os

import jax

from pointrend_jax.console import tell
from pointrend_jax.storage import AnyPath, is_remote


def use_compilation_cache(folder: AnyPath) -> None:
    """Keeps compiled programs in `folder`, unless a place is set already; without it, if it cannot
    be written to, which is told once.

    jax's own switches come first: $JAX_COMPILATION_CACHE_DIR names another place,
    JAX_ENABLE_COMPILATION_CACHE=false keeps nothing.
    """
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    if not is_remote(folder):
        folder = folder.absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            _tell_unusable(str(folder))
            return
        if not os.access(folder, os.W_OK):
            _tell_unusable(str(folder))
            return
    jax.config.update("jax_compilation_cache_dir", str(folder))


@functools.cache
def _tell_unusable(folder: str) -> None:
    tell(f"{folder} cannot be written to: compiled programs are not kept")
