"""Which form of a program a backend gets, and what its host does beside it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import pytest

from pointrend_jax.devices.backend import forms, traced_for
from pointrend_jax.tasks.predict_batches import made_ahead, one_ahead
from pointrend_jax.workers import at_once


def test_a_backend_without_forms_is_told_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "written for cpu, gpu, tpu, and jax has the backend 'METAL'.*JAX_PLATFORMS=cpu"
    monkeypatch.setattr(jax, "default_backend", lambda: "METAL")
    with pytest.raises(ValueError, match=message):
        forms()
    with pytest.raises(ValueError, match=message), traced_for("METAL"):
        pass
    with traced_for("cpu"):
        assert forms().samples_by_rows


@pytest.mark.parametrize(("backend", "by_all"), [("cpu", False), ("gpu", True), ("tpu", True)])
@pytest.mark.parametrize("road", [made_ahead, lambda samples: one_ahead(samples, lambda _: 0)])
def test_samples_are_made_by_all_cores_where_a_network_leaves_them_free(
    road: Callable[[Any], Any], backend: str, by_all: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    by: list[bool] = []

    def samples() -> Iterator[int]:
        reader = threading.get_ident()
        by.extend(at_once(lambda _: threading.get_ident() != reader, range(2)))
        yield 0

    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert len(list(road(samples()))) == 1
    assert by == [by_all, by_all]
