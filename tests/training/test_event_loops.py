"""Reads of a damaged checkpoint that end late are not told of."""

import asyncio
from pathlib import Path

import orbax.checkpoint as ocp
import pytest

from pointrend_jax.training.digests import DamagedCheckpointError
from pointrend_jax.training.event_loops import deaf_once_closed
from pointrend_jax.training.saved_step import checkpoints_folder, open_manager, read_description


def test_a_loop_hears_threads_until_it_is_closed() -> None:
    with deaf_once_closed():
        loop = asyncio.new_event_loop()
    heard = []
    loop.call_soon_threadsafe(heard.append, 1)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    loop.close()
    loop.call_soon_threadsafe(heard.append, 2)
    assert heard == [1]


def test_other_loops_stay_as_they_are() -> None:
    policy = asyncio.get_event_loop_policy()
    with pytest.raises(KeyError), deaf_once_closed():
        raise KeyError
    assert asyncio.get_event_loop_policy() is policy
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon_threadsafe(print)


def test_a_checkpoint_is_read_by_such_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restore(self: object, step: int, **arguments: object) -> None:
        """As orbax, when another read is the first to fail."""
        loop = asyncio.new_event_loop()
        loop.close()
        loop.call_soon_threadsafe(print)
        raise ValueError("one array cannot be read")

    monkeypatch.setattr(ocp.CheckpointManager, "restore", restore)
    refused = pytest.raises(DamagedCheckpointError, match="one array cannot be read")
    with open_manager(checkpoints_folder(tmp_path)) as manager, refused:
        read_description(manager, 0)
