"""The short forms of benchmarks/kill_test.py and benchmarks/kill_prepare.py: one kill of each."""

import signal
from pathlib import Path

import numpy as np

from benchmarks.kill_prepare import contents, prepare
from benchmarks.kill_test import Run, content, live
from pointrend_jax.cli import main
from tests.data.label_sets import blocks, write_camvid
from tests.quick_run import CONFIG, STEPS, QuickRun
from tests.shared import REPOSITORY

# What tests/conftest.py sets for this process.
_VARIABLES = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "2",
    "JAX_COMPILATION_CACHE_DIR": str(REPOSITORY / ".cache" / "jax"),
}


def test_a_training_killed_while_it_saves_ends_as_one_that_was_left_alone(
    quick_run: QuickRun, tmp_path: Path
) -> None:
    places = tmp_path / "killed", quick_run.root / "cache"
    run = Run(*places, STEPS, _VARIABLES, quick_run.flags(), CONFIG)
    killed = live(run, "save", signal.SIGKILL, 0.02)
    assert killed.status == -signal.SIGKILL
    assert live(run, "", signal.SIGKILL, 0.0).status == 0
    expected, found = content(quick_run.workdir, STEPS), content(run.workdir, STEPS)
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
    for name in ("killed", "whole"):
        main(["prepare", "--data-dir", str(tmp_path / name), *arguments])
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed") != {}
