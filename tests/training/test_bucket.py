"""A run in a bucket: records come from there, checkpoints and numbers go there, and it resumes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from orbax.checkpoint._src.path import gcs_utils

from pointrend_jax.cli import main
from pointrend_jax.configs import tiny
from pointrend_jax.data.build_objects import build_datasets
from pointrend_jax.data.records.fetch import fetch_records
from pointrend_jax.evaluation.semantic_scores import load_counts, score
from pointrend_jax.experiment import evaluate_run, train
from pointrend_jax.predict.load import load
from pointrend_jax.results.predictions import write_results_list
from pointrend_jax.storage import as_path
from pointrend_jax.structures import Config
from pointrend_jax.training.checkpoints import CheckpointMeta, Checkpoints, Retention
from pointrend_jax.training.saved_variables import load_variables, newest_step
from pointrend_jax.training.step import DEFAULT_OPTIONS, TrainState, initial_state
from tests.bucket import buckets
from tests.data.label_sets import blocks, write_camvid
from tests.quick_run import QuickRun


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    # Orbax asks the cloud what kind of bucket this is.
    patch.setattr(gcs_utils, "get_bucket", lambda name: object())
    with buckets(tmp_path_factory.mktemp("buckets") / "root") as folder:
        yield folder
    patch.undo()


def _state(step: int) -> TrainState:
    params = {"head": {"kernel": jnp.arange(4000.0).reshape(40, 100) + step}}
    variables = {"params": params, "buffers": {}}
    state = initial_state(variables, optax.sgd(0.1, momentum=0.9), DEFAULT_OPTIONS)
    return state._replace(step=jnp.asarray(step, jnp.int32))


def _config(run: QuickRun, steps: int) -> Config:
    config = run.config()
    config.train.steps, config.train.checkpoint_every = steps, 1
    return config


def test_a_run_in_a_bucket_saves_resumes_and_scores(
    quick_run: QuickRun, bucket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir, folder = as_path("gs://bucket/runs/one"), bucket / "runs" / "one"
    train(_config(quick_run, 1), workdir, evaluate_at_end=False)
    other = _config(quick_run, 2)
    other.train.learning_rate = 0.1
    with pytest.raises(ValueError, match=r"learning_rate: 0\.02, now 0\.1"):
        train(other, workdir, evaluate_at_end=False)
    variables = train(_config(quick_run, 2), workdir, evaluate_at_end=False)
    assert "resuming gs://bucket/runs/one after step 1" in capsys.readouterr().out
    assert {"1", "2"} <= {p.name for p in (folder / "checkpoints").iterdir()}
    saved, _, step = load_variables(workdir)
    assert step == 2
    jax.tree.map(np.testing.assert_array_equal, saved["params"], variables["params"])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in lines if "loss" in r] == [1, 2]
    assert list((folder / "tensorboard").iterdir())
    results = evaluate_run(workdir)
    assert json.loads((folder / "results.json").read_text())["coarse"] == results["coarse"]
    counts = load_counts(folder / "counts.npz")
    assert score(counts)["coarse"]["miou"] == results["coarse"]["miou"]
    predictor: Any = load("gs://bucket/runs/one")
    assert len(predictor.class_names) == 11


def test_detections_are_written_to_a_bucket(bucket: Path) -> None:
    write_results_list(as_path("gs://bucket/runs/detections.json"), [{"image_id": 1}])
    assert json.loads((bucket / "runs" / "detections.json").read_text()) == [{"image_id": 1}]


def test_a_damaged_checkpoint_in_a_bucket_gives_way_to_the_one_before(
    bucket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir, like = as_path("gs://bucket/runs/damaged"), _state(0)
    with Checkpoints(workdir, Retention(5)) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, _state(step), CheckpointMeta({"seed": 0}, ("a",)))
    for file in (bucket / "runs/damaged/checkpoints/2/state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:20])
    with Checkpoints(workdir, Retention(5)) as checkpoints:
        found = checkpoints.restore_newest(like)
        assert found is not None
        jax.tree.map(np.testing.assert_array_equal, found[0], _state(1))
        checkpoints.set_aside_after(1)
    assert newest_step(workdir) == 1
    assert "the checkpoint of step 2" in capsys.readouterr().out
    assert any((bucket / "runs/damaged/unreadable_checkpoints/2").rglob("*"))


def _prepare(tmp_path: Path, *extra: str) -> list[str]:
    if not (tmp_path / "set").exists():
        write_camvid(tmp_path / "set", "train", tuple(blocks((32, 32), i) for i in range(4)))
        write_camvid(tmp_path / "set", "val", (blocks((32, 32), 9),))
    usual = ["--dataset", "camvid", "--source", str(tmp_path / "set"), "--subset"]
    return ["prepare", *usual, "--data-dir", "gs://bucket/data", "--images-per-shard", "2", *extra]


def test_records_in_a_bucket_are_prepared_verified_and_fetched_once(
    bucket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(_prepare(tmp_path, "--verify"))
    folder = as_path("gs://bucket/data/camvid/1.0.0")
    here = fetch_records(folder, tmp_path / "cache")
    stored = {p.name: p.read_bytes() for p in (bucket / "data/camvid/1.0.0").iterdir()}
    copied = {p.name: p.read_bytes() for p in here.iterdir() if p.name != ".lock"}
    assert copied == stored
    assert "copying 8 files" in capsys.readouterr().out
    fetch_records(folder, tmp_path / "cache")
    assert "copying" not in capsys.readouterr().out
    # An interrupted copy goes on; what is there and whole is not copied again.
    (here / "dataset_info.json").unlink()
    shard = here / "camvid-train.array_record-00001-of-00002"
    shard.write_bytes(shard.read_bytes()[:50])
    before = (here / "camvid-val.array_record-00000-of-00001").stat().st_mtime_ns
    fetch_records(folder, tmp_path / "cache")
    assert shard.read_bytes() == stored[shard.name]
    assert (here / "camvid-val.array_record-00000-of-00001").stat().st_mtime_ns == before


def test_a_damaged_bucket_is_named(bucket: Path, tmp_path: Path) -> None:
    main(_prepare(tmp_path, "--name", "damaged"))
    shard = bucket / "data/damaged/1.0.0/damaged-train.array_record-00000-of-00002"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    config: Config = tiny.get_config()
    config.data.cache_dir = str(tmp_path / "cache")
    config.data.source, config.data.dir = "tfds", "gs://bucket/data/damaged/1.0.0"
    with pytest.raises(ValueError, match=r"damaged-train.*another checksum"):
        build_datasets(config)
    config.data.dir = "gs://bucket/data/absent/1.0.0"
    with pytest.raises(ValueError, match="holds no complete set"):
        build_datasets(config)
