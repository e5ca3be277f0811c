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
from pointrend_jax.training.resume import check_same_run, differences
from pointrend_jax.training.saved_variables import (
    load_description,
    load_variables,
    newest_step,
    save_variables,
)
from pointrend_jax.training.step import DEFAULT_OPTIONS, TrainState, initial_state
from pointrend_jax.training.trees import WrongCheckpointError

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
    with Checkpoints(tmp_path, Retention(1)) as checkpoints:
        assert checkpoints.latest == 1


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


def test_differences_name_the_field_and_both_values() -> None:
    saved = {"seed": 0, "data": {"buckets": [[64, 64]], "dir": "a"}, "train": {"steps": 9}}
    now = {"seed": 1, "data": {"buckets": ((64, 64),), "dir": "b"}, "train": {"steps": 9, "new": 1}}
    assert differences(saved, now) == {
        "data.dir": "config.data.dir: a, now b",
        "seed": "config.seed: 0, now 1",
    }


def test_a_field_newer_than_the_checkpoint_had_its_default_then() -> None:
    saved, now = {"model": {"mask": {}}}, {"model": {"mask": {"sampler": "importance"}}}
    assert differences(saved, now) == {}
    now["model"]["mask"]["sampler"] = "mine"
    assert differences(saved, now) == {
        "model.mask.sampler": "config.model.mask.sampler: importance, now mine"
    }


def test_changes_that_decide_the_numbers_are_refused_unless_accepted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = {"seed": 0, "train": {"steps": 9, "learning_rate": 0.1}}
    saved = CheckpointMeta(config, ("a", "b"), 10, {"jax": "0.1"})
    more = {"seed": 0, "train": {"steps": 12, "learning_rate": 0.1}}
    check_same_run(
        saved, saved._replace(config=more, versions={"jax": "0.2"}), accept_changes=False
    )
    told = capsys.readouterr().out
    assert "config.train.steps: 9, now 12" in told
    assert "version of jax: 0.1, now 0.2" in told
    other = saved._replace(
        config={"seed": 0, "train": {"steps": 9, "learning_rate": 0.2}}, num_train_images=11
    )
    with pytest.raises(
        WrongCheckpointError, match=r"(?s)learning_rate: 0\.1, now 0\.2.*images: 10, now 11.*accept"
    ):
        check_same_run(saved, other, accept_changes=False)
    check_same_run(saved, other, accept_changes=True)
    assert "learning_rate: 0.1, now 0.2" in capsys.readouterr().out
    renamed = saved._replace(class_names=("a", "c"))
    with pytest.raises(WrongCheckpointError, match="classes"):
        check_same_run(saved, renamed, accept_changes=False)


def test_the_length_may_change_unless_it_decides_every_rate() -> None:
    config = {"train": {"schedule": "poly", "steps": 9}}
    saved = CheckpointMeta(config, ("a",))
    longer = saved._replace(config={"train": {"schedule": "poly", "steps": 12}})
    with pytest.raises(WrongCheckpointError, match=r"config\.train\.steps: 9, now 12"):
        check_same_run(saved, longer, accept_changes=False)
    check_same_run(saved, longer, accept_changes=True)


def test_how_often_images_are_repeated_may_not_change_on_the_way() -> None:
    saved = CheckpointMeta({"data": {"dir": "a", "repeat_threshold": 0.0}}, ("a",), 10, {})
    moved = saved._replace(config={"data": {"dir": "b", "repeat_threshold": 0.0}})
    check_same_run(saved, moved, accept_changes=False)
    other = saved._replace(config={"data": {"dir": "a", "repeat_threshold": 0.001}})
    with pytest.raises(WrongCheckpointError, match=r"repeat_threshold: 0\.0, now 0\.001"):
        check_same_run(saved, other, accept_changes=False)


def test_a_checkpoint_without_newer_fields_has_their_old_meaning(tmp_path: Path) -> None:
    config = {"seed": 0, "model": {"backbone": "resnet18"}, "train": {"steps": 9}}
    variables = {"params": {"a": jnp.ones(2)}, "buffers": {"b": jnp.ones(2)}}
    save_variables(tmp_path, variables, CheckpointMeta(config, ("a",)))
    _, meta, _ = load_variables(tmp_path)
    assert meta.config["model"] == {"backbone": "resnet18", "compute_dtype": "float32"}
    assert meta.config["train"] == {"steps": 9, "remat": False}
    now = meta._replace(
        config=meta.config | {"model": {"backbone": "resnet18", "compute_dtype": "bfloat16"}}
    )
    with pytest.raises(WrongCheckpointError, match=r"compute_dtype: float32, now bfloat16"):
        check_same_run(meta, now, accept_changes=False)


def test_the_same_set_may_come_from_elsewhere_but_not_another_set() -> None:
    saved = CheckpointMeta({"data": {"source": "coco", "dir": "a"}}, ("a",), 10, {}, "digest")
    moved = saved._replace(config={"data": {"source": "tfds", "dir": "b"}})
    check_same_run(saved, moved, accept_changes=False)
    with pytest.raises(WrongCheckpointError, match="training images: others"):
        check_same_run(saved, moved._replace(train_digest="other"), accept_changes=False)
    # A checkpoint of an earlier version knows no digest.
    with pytest.raises(WrongCheckpointError, match=r"source: coco, now tfds"):
        check_same_run(saved._replace(train_digest=""), moved, accept_changes=False)
