"""The demonstration, whole, with the tiny model that other tests train too."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.cli import main
from pointrend_jax.demo import run_demo
from tests.tiny_run import tiny_run_config


def test_demo_of_a_model_that_renders_nothing_is_refused_before_it_draws(tmp_path: Path) -> None:
    config = tiny_run_config(tmp_path / "cache")
    config.model.mask_head = "conv"
    with pytest.raises(ValueError, match="steps to explain"):
        run_demo(config, tmp_path / "work")
    assert not (tmp_path / "cache").exists()


def test_demo_leaves_numbers_and_pictures_and_ends_in_a_command_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    config = tiny_run_config(tmp_path / "cache")
    config.train.steps = 2
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
    for name in ("prediction_1", "prediction_4", "coarse_and_rendered"):
        Image.open(work / f"{name}.png").verify()

    _, module, package, *arguments = shlex.split(said.splitlines()[-1])
    assert (module, package) == ("-m", "pointrend_jax")
    main(arguments)
    assert (work / "predicted" / "image_1.png").is_file()
