"""The demonstration, whole, with the tiny model that other tests train too."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pointrend_jax import demo
from pointrend_jax.cli import main
from pointrend_jax.demo import run_demo
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.saved_variables import save_variables
from pointrend_jax.visualize import explain_picture
from tests.tiny import tiny_variables
from tests.tiny_run import tiny_run_config


def test_demo_of_a_model_that_renders_nothing_is_refused_before_it_draws(tmp_path: Path) -> None:
    config = tiny_run_config(tmp_path / "cache")
    config.model.mask_head = "conv"
    with pytest.raises(ValueError, match="steps to explain"):
        run_demo(config, tmp_path / "work")
    assert not (tmp_path / "cache").exists()


def _sure(config: Config, folder: Path) -> Path:
    """A checkpoint to start from that is sure of what it finds."""
    variables = tiny_variables(build_task(config))
    bias = variables["params"]["box_head"]["classifier"]["bias"]
    bias += 20 * np.eye(1, bias.size, dtype=np.float32)[0]
    variables["params"]["box_head"]["classifier"]["bias"] = bias
    names = tuple(f"class {i}" for i in range(config.num_classes))
    save_variables(folder, variables, CheckpointMeta(config.to_dict(), names))
    return folder


def test_demo_leaves_numbers_and_pictures_and_ends_in_a_command_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    config = tiny_run_config(tmp_path / "cache")
    config.train.steps = 2
    config.init.weights = str(_sure(config, tmp_path / "start"))
    # What so short a training finds overlaps no object by half: the first of the image stands in.
    found: list[Any] = []
    explained: list[Any] = []

    def first_object(truth: Any, image_id: int, record: Any) -> Any:
        found.append(truth.imgToAnns[image_id][0]["segmentation"])
        return found[-1]

    def explain(*arguments: Any, truth: Any) -> np.ndarray:
        explained.append(truth)
        return explain_picture(*arguments, truth=truth)

    monkeypatch.setattr(demo, "true_mask", first_object)
    monkeypatch.setattr(demo, "explain_picture", explain)
    run_demo(config, work)
    said = capsys.readouterr().out
    results = json.loads((work / "results.json").read_text())
    stages = ["drawing", "training", "evaluation", "pictures"]
    assert [line.split()[1] for line in said.splitlines() if line.startswith("demo, ")] == [
        f"{stage}:" for stage in stages
    ]
    assert list(results["seconds"]) == [*stages, "total"]
    assert {"rendered", "coarse", "box", "confusion"} <= results.keys()
    assert ">Losses<" in (work / "report.html").read_text()
    drawn = Image.open(next((tmp_path / "cache").glob("embedded-*/eval/000001.jpg")))
    shown = Image.open(work / "image_2.png")
    # Two decoders of JPEG differ by rounding.
    np.testing.assert_allclose(np.asarray(shown, int), np.asarray(drawn, int), atol=4)
    # Of every image on which something is sure, in their order.
    assert explained
    assert explained == found
    assert len([*work.glob("explain_*.png")]) == len(explained)
    for name in ("prediction_1", "prediction_4", "coarse_and_rendered"):
        Image.open(work / f"{name}.png").verify()

    _, module, package, *arguments = shlex.split(said.splitlines()[-1])
    assert (module, package) == ("-m", "pointrend_jax")
    main(arguments)
    assert (work / "predicted" / "image_1.png").is_file()
