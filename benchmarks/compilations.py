"""What jax compiles while something runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def counted_compilations() -> Iterator[list[str]]:
    """The names of the functions that are compiled inside, growing."""
    names: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del duration_secs
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(kwargs["fun_name"]))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
