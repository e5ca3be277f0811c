"""Which form of a program a backend gets."""

import jax
import pytest

from pointrend_jax.devices.backend import forms, traced_for


def test_a_backend_without_forms_is_told_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "written for cpu, gpu, tpu, and jax has the backend 'METAL'.*JAX_PLATFORMS=cpu"
    monkeypatch.setattr(jax, "default_backend", lambda: "METAL")
    with pytest.raises(ValueError, match=message):
        forms()
    with pytest.raises(ValueError, match=message), traced_for("METAL"):
        pass
    with traced_for("cpu"):
        assert forms().samples_by_rows
