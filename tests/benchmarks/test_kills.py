"""The short forms of benchmarks/kill_test.py and benchmarks/kill_prepare.py: one kill of each."""

import signal
from pathlib import Path

import numpy as np

from benchmarks.kill_prepare import contents, prepare
from benchmarks.kill_test import Run, content, live
from tests.data.label_sets import blocks, write_camvid
from tests.shared import REPOSITORY
from tests.tiny_run import TinyRun, tiny_run_flags

_STEPS = 4
# What tests/conftest.py sets for this process.
_VARIABLES = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "2",
    "JAX_COMPILATION_CACHE_DIR": str(REPOSITORY / ".cache" / "jax"),
}


def test_a_training_killed_while_it_saves_ends_as_one_that_was_left_alone(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    flags = tiny_run_flags(tiny_run.cache)
    run = Run(tmp_path / "killed", tiny_run.cache, _STEPS, _VARIABLES, flags)
    killed = live(run, "save", signal.SIGKILL, 0.02)
    assert killed.status == -signal.SIGKILL
    assert live(run, "", signal.SIGKILL, 0.0).status == 0
    expected, found = content(tiny_run.workdir, _STEPS), content(run.workdir, _STEPS)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_prepare_killed_between_two_shards_leaves_the_files_of_one_left_alone(
    tmp_path: Path,
) -> None:
    for split, number in (("train", 8), ("val", 1)):
        images = tuple(blocks((32, 32), i) for i in range(number))
        write_camvid(tmp_path / "set", split, images)
    arguments = [
        "--dataset", "camvid", "--source", str(tmp_path / "set"), "--subset",
        "--images-per-shard", "1",
    ]  # fmt: skip
    prepare(tmp_path / "killed", arguments, kill_after=0.0)
    prepare(tmp_path / "killed", arguments, kill_after=None)
    prepare(tmp_path / "whole", arguments, kill_after=None)
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed") != {}
