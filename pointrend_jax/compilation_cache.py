"""Compiled programs that outlive the process, so that the second start is quick."""

import jax

from pointrend_jax.storage import AnyPath, is_remote


def use_compilation_cache(folder: AnyPath) -> None:
    """Keeps compiled programs in `folder`, unless a place is set already.

    jax's own switches come first: $JAX_COMPILATION_CACHE_DIR names another place,
    JAX_ENABLE_COMPILATION_CACHE=false keeps nothing.
    """
    if not jax.config.values["jax_compilation_cache_dir"]:
        here = folder if is_remote(folder) else folder.absolute()
        jax.config.update("jax_compilation_cache_dir", str(here))
