"""The files of docs/own_network.md, as they stand there: both networks train and render."""

import re
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from pointrend_jax.ops.resize import upsample_2x
from tests.shared import REPOSITORY

_TEXT = (REPOSITORY / "docs" / "own_network.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", _TEXT, re.S))
STEPS = 60


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files can be imported, and are forgotten afterwards."""
    for name, source in FILES.items():
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def _overlap(logits: jax.Array, masks: jax.Array) -> float:
    predicted, true = np.asarray(logits)[..., 0] > 0, np.asarray(masks) > 0
    of_each = (predicted & true).sum((1, 2)) / (predicted | true).sum((1, 2))
    return float(of_each.mean())


def _check(losses: list[jax.Array], coarse: jax.Array, rendered: jax.Array, masks: jax.Array):
    assert losses[-1] < losses[0] / 4
    assert rendered.shape == (*masks.shape, 1)
    upsampled = jax.jit(lambda x: upsample_2x(upsample_2x(upsample_2x(x))))(coarse)
    assert _overlap(rendered, masks) > max(0.85, _overlap(upsampled, masks) + 0.04)


def test_the_linen_network_is_as_short_as_it_is_said_to_be() -> None:
    assert list(FILES) == ["shapes.py", "linen_network.py", "train_linen.py", "nnx_network.py"]
    assert FILES["linen_network.py"].count("\n") <= 60
    for name, source in FILES.items():
        assert max(map(len, source.splitlines())) <= 100, name


@pytest.mark.usefixtures("modules")
def test_the_linen_network_trains_and_its_rendered_masks_are_finer() -> None:
    training = import_module("train_linen")
    params, losses = training.train(STEPS)
    images, masks = import_module("shapes").draw(jax.random.key(99), 16)
    segment = jax.jit(partial(training.network.apply, method="segment"))
    coarse, rendered = segment(params, images)
    _check(losses, coarse, rendered, masks)


@pytest.mark.usefixtures("modules")
def test_the_nnx_network_trains_and_its_rendered_masks_are_finer() -> None:
    network, losses = import_module("nnx_network").train(STEPS)
    images, masks = import_module("shapes").draw(jax.random.key(99), 16)
    coarse, rendered = nnx.jit(lambda network, images: network.segment(images))(network, images)
    _check(losses, coarse, rendered, masks)
