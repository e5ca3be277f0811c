"""Copies on every device are the device's own, and cost no program."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pointrend_jax.devices.placement import replicated, to_be_saved


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Names of what is compiled or found in the compile cache from here on."""
    names: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            names.append(f"{kwargs.get('fun_name')} in {duration_secs} s")

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def test_copies_share_no_memory_with_what_the_caller_holds(compiled: list[str]) -> None:
    # Shapes that no other test has, because a compiled copy would be kept.
    held = {"kernel": jax.device_put(np.arange(407, dtype=np.float32)), "step": np.asarray(3)}
    copies = replicated(held)
    for array in jax.tree.leaves(copies):
        parts = [part.data.unsafe_buffer_pointer() for part in array.addressable_shards]
        assert len(set(parts)) == len(jax.local_devices())
        assert held["kernel"].unsafe_buffer_pointer() not in parts
    np.testing.assert_array_equal(copies["kernel"], held["kernel"])
    assert copies["kernel"].is_fully_replicated
    assert compiled == []
    # The listener listens.
    jax.block_until_ready(jnp.zeros((407, 3)) + 1)
    assert compiled != []


def test_one_process_saves_one_copy_as_it_lies(compiled: list[str]) -> None:
    state = replicated({"kernel": np.arange(2 * 311, dtype=np.float32).reshape(2, 311)})
    saved = to_be_saved(state)
    first = state["kernel"].addressable_shards[0].data
    assert saved["kernel"].unsafe_buffer_pointer() == first.unsafe_buffer_pointer()
    assert saved["kernel"].devices() == first.devices()
    assert compiled == []
