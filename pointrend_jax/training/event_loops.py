"""Event loops for orbax's reads, which may be told of results that nobody waits for any more.

Orbax reads all arrays at once in a loop of its own and closes it at the first failure. The other
reads go on in tensorstore's threads, which tell the closed loop of their ends; a common loop raises
then, and each of them prints a traceback beside the one sentence that says what is damaged.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deaf_once_closed() -> Iterator[None]:
    """New event loops ignore within what threads tell them after they were closed."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_Policy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)


class _Loop(asyncio.SelectorEventLoop):
    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, **options: Any
    ) -> Any:
        try:
            return super().call_soon_threadsafe(callback, *args, **options)
        except RuntimeError:
            if self.is_closed():
                return None
            raise


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _Loop()
