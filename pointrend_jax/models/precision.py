"""The type that a network computes in; docs/precision.md says what it covers."""

import jax.numpy as jnp

from pointrend_jax.structures import Config

_DTYPES = {"float32": jnp.dtype(jnp.float32), "bfloat16": jnp.dtype(jnp.bfloat16)}


def compute_dtype(config: Config) -> jnp.dtype:
    """The type that `config.model.compute_dtype` names. Raises ValueError for an unknown name."""
    name = config.model.compute_dtype
    if name not in _DTYPES:
        raise ValueError(
            f"config.model.compute_dtype must be one of {list(_DTYPES)}, got {name!r}."
        )
    return _DTYPES[name]
