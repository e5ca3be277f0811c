"""Checkpoints: what is kept, what is damaged, and whether a run may go on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pointrend_jax.training.checkpoints import CheckpointMeta, Checkpoints, Retention
from pointrend_jax.training.saved_variables import (
    load_description,
    load_variables,
    newest_step,
)
from pointrend_jax.training.step import DEFAULT_OPTIONS, TrainState, initial_state

_META = CheckpointMeta({"seed": 0, "train": {"steps": 9, "remat": False}}, ("a", "b"))


def _state(step: int) -> TrainState:
    params = {"head": {"kernel": jnp.arange(4000.0).reshape(40, 100) + step, "bias": jnp.ones(3)}}
    variables = {"params": params, "buffers": {}}
    state = initial_state(variables, optax.sgd(0.1, momentum=0.9), DEFAULT_OPTIONS)
    return state._replace(step=jnp.asarray(step, jnp.int32))


def _save(workdir: Path, steps: range, retention: Retention = Retention(10)) -> None:  # noqa: B008
    with Checkpoints(workdir, retention) as checkpoints:
        for step in steps:
            checkpoints.save(step, _state(step), _META)


def _steps(workdir: Path) -> list[int]:
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def _damage(folder: Path, kind: str) -> None:
    """Damages all files that hold arrays or say what they are, in one way."""
    if kind == "state_missing":
        shutil.rmtree(folder / "state")
        return
    for file in [p for p in (folder / "state").rglob("*") if p.is_file() and p.stat().st_size]:
        content = bytearray(file.read_bytes())
        if kind == "truncated":
            file.write_bytes(content[: len(content) // 2])
        elif kind == "emptied":
            file.write_bytes(b"")
        else:
            content[len(content) // 2] ^= 0x10
            file.write_bytes(content)


def test_the_newest_those_of_every_k_steps_and_the_best_are_kept(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, Retention(latest=2, every=4)) as checkpoints:
        for step in range(1, 11):
            checkpoints.save(step, _state(step), _META)
            if step == 3:
                checkpoints.keep_best(3)
    assert _steps(tmp_path) == [3, 4, 8, 9, 10]


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    _save(tmp_path, range(3, 4))
    with Checkpoints(tmp_path, Retention(1)) as checkpoints:
        found = checkpoints.restore_newest(_state(0))
    assert found is not None
    state, step, meta = found
    assert (step, meta) == (3, _META)
    jax.tree.map(np.testing.assert_array_equal, state, _state(3))


@pytest.mark.parametrize("kind", ["truncated", "emptied", "one_bit", "state_missing"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _save(tmp_path, range(1, 3))
    _damage(tmp_path / "checkpoints" / "2", kind)
    with Checkpoints(tmp_path, Retention(5)) as checkpoints:
        found = checkpoints.restore_newest(_state(0))
        assert found is not None
        jax.tree.map(np.testing.assert_array_equal, found[0], _state(1))
        assert "the checkpoint of step 2" in capsys.readouterr().out
        checkpoints.set_aside_after(found[1])
        # The step can be saved again.
        checkpoints.save(2, _state(2), _META)
    assert (tmp_path / "unreadable_checkpoints" / "2").is_dir()
    with Checkpoints(tmp_path, Retention(5)) as checkpoints:
        again = checkpoints.restore_newest(_state(0))
    assert again is not None
    jax.tree.map(np.testing.assert_array_equal, again[0], _state(2))


def test_every_flipped_bit_of_the_values_is_found_by_every_load(tmp_path: Path) -> None:
    _save(tmp_path, range(1, 3))
    files = (tmp_path / "checkpoints" / "2" / "state").rglob("*")
    # 16 kB of random looking values; what is beside them is a hundred bytes.
    file = max((p for p in files if p.is_file()), key=lambda p: p.stat().st_size)
    content, rng = file.read_bytes(), np.random.default_rng(0)
    for bit in rng.integers(8 * len(content) // 10, 8 * len(content) * 9 // 10, 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(
            ValueError,
            match=r"step 2 is damaged: .*head/kernel (is|are) not what was .* of step 1\.$",
        ):
            load_variables(tmp_path)
        with Checkpoints(tmp_path, Retention(5)) as checkpoints:
            found = checkpoints.restore_newest(_state(0))
        assert found is not None
        assert found[1] == 1
    file.write_bytes(content)
    assert load_variables(tmp_path)[2] == 2


def _change_meta(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = folder / "meta" / "metadata"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def _without_digests(content: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in content.items() if "sha256" not in k} | {"digest": 3624861698}


def test_a_checkpoint_of_an_earlier_version_is_read_and_said_to_be_unverified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _save(tmp_path, range(1, 2))
    _change_meta(tmp_path / "checkpoints" / "1", _without_digests)
    variables, meta, _ = load_variables(tmp_path)
    assert meta == _META
    np.testing.assert_array_equal(
        variables["params"]["head"]["kernel"], _state(1).params["head"]["kernel"]
    )
    assert "step 1 was written by an earlier version" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: _without_digests(c) | {"config": 3}, "config .* must be of type dict, got '3'"),
        (lambda c: _without_digests(c) | {"config": {"train": 3}}, r"config\.train .* a group"),
        (lambda c: _without_digests(c) | {"class_names": "ab"}, "class_names .* type list"),
        (lambda c: _without_digests(c) | {"class_names": [1]}, "class_names .* must be texts"),
        (lambda c: _without_digests(c) | {"num_train_images": None}, "num_train_images .* int"),
        (lambda c: _without_digests(c) | {"versions": []}, "versions .* dict"),
        (lambda c: _without_digests(c) | {"train_digest": 1}, "train_digest .* str"),
        (lambda c: _without_digests({"digest": 1}), "config .* type dict"),
        (lambda c: c | {"class_names": ["a", "c"]}, "its description .* not what was written"),
        (lambda c: [c], "no JSON object"),
    ],
)
def test_a_damaged_description_is_one_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], match: str
) -> None:
    _save(tmp_path, range(1, 3))
    _change_meta(tmp_path / "checkpoints" / "2", change)
    for load in (load_variables, load_description):
        with pytest.raises(ValueError, match=rf"^the checkpoint of step 2 is damaged: .*{match}"):
            load(tmp_path)
    with Checkpoints(tmp_path, Retention(5)) as checkpoints:
        found = checkpoints.restore_newest(_state(0))
    assert found is not None
    assert found[1] == 1


def test_a_description_is_read_without_the_arrays(tmp_path: Path) -> None:
    _save(tmp_path, range(1, 3))
    whole = load_variables(tmp_path)[1]
    shutil.rmtree(tmp_path / "checkpoints" / "2" / "state")
    assert load_description(tmp_path) == whole


@pytest.mark.parametrize("missing", ["meta", "state", "state/_METADATA", ""])
def test_a_missing_part_is_one_sentence(tmp_path: Path, missing: str) -> None:
    _save(tmp_path, range(1, 2))
    folder = tmp_path / "checkpoints" / "1"
    lost = folder / missing
    if lost.is_dir():
        shutil.rmtree(lost)
    else:
        lost.unlink()
    folder.mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=r"^the checkpoint of step 1 is damaged.*from a copy\.$"):
        load_variables(tmp_path)


def test_checkpoints_that_are_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    for read in (load_variables, newest_step):
        with pytest.raises(ValueError, match="must be the folder of the checkpoints, and is a fi"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (OSError(5, "Input/output error"), r"Input/output error\. See to that"),
        (ValueError("OUT_OF_RANGE: " + "x" * 900 + "No space left on device"), "device. Free some"),
    ],
)
def test_a_failed_write_names_its_step_and_is_told_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: Exception, advice: str
) -> None:
    def fail() -> None:
        raise cause

    def save_and_check() -> None:
        with Checkpoints(tmp_path, Retention(5)) as checkpoints:
            checkpoints.save(1, _state(1), _META)
            checkpoints.save(2, _state(2), _META)
            with monkeypatch.context() as patch:
                patch.setattr(checkpoints._manager, "is_saving_in_progress", lambda: False)
                patch.setattr(checkpoints._manager, "wait_until_finished", fail)
                checkpoints.check()
            pytest.fail("the failure was not told")

    with pytest.raises(OSError, match=rf"^the checkpoint of step 2 could not .*{advice}") as told:
        save_and_check()
    assert len(str(told.value)) < 700


def test_a_half_written_checkpoint_is_none(tmp_path: Path) -> None:
    _save(tmp_path, range(1, 2))
    # As orbax names it until it is complete.
    half = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "1", half)
    assert newest_step(tmp_path) == 1


def test_if_none_can_be_read_the_run_does_not_begin_anew(tmp_path: Path) -> None:
    _save(tmp_path, range(1, 3))
    for step in (1, 2):
        _damage(tmp_path / "checkpoints" / str(step), "truncated")
    with (
        Checkpoints(tmp_path, Retention(5)) as checkpoints,
        pytest.raises(ValueError, match=r"(?s)no checkpoint .* can be read.*step 2.*step 1"),
    ):
        checkpoints.restore_newest(_state(0))


def test_a_directory_that_is_not_writable_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Checkpoints(tmp_path, Retention(1)) as checkpoints:

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(OSError, match=r"step 1 could not be written.*No space.*Free some"):
            checkpoints.save(1, _state(1), _META)
