"""`convert`: which flags belong together, and classes of one's own."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from pointrend_jax.cli import main
from pointrend_jax.config import load_config
from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.saved_variables import load_description
from pointrend_jax.training.trees import array_shapes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights=a.pkl", "--output=b"], "--weights needs the --config"),
        (["--checkpoint=a", "--output=b.safetensors", "--config=demo"], "belong to --weights"),
        (["--checkpoint=a", "--output=b.safetensors", "--class-names=c"], "belong to --weights"),
        (["--checkpoint=a", "--output=b"], r"--output b must end in \.safetensors"),
        (["--checkpoint=a", "--output=b.safetensors"], "a has no checkpoints"),
        (
            ["--weights=a.pkl", "--output=b", "--config=demo", "--class-names=c,c"],
            r"class_names must be 2 different names",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_do_not_belong_together_are_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        main(["convert", *arguments])


def test_a_model_of_classes_of_ones_own_keeps_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config("tiny").copy_and_resolve_references().unlock()
    config.num_classes = 2
    shapes = array_shapes(build_task(config).shapes())
    zeros = {path: np.zeros(shape, np.float32) for path, shape in shapes.items()}
    file, output = tmp_path / "model.pkl", tmp_path / "checkpoint"
    file.write_bytes(pickle.dumps({"model": export_detectron2(zeros)}))
    # Its own, of six classes, would be another model.
    flags = ["--weights", str(file), "--config=tiny", "--config.data.categories=coco"]
    main(["convert", *flags, "--output", str(output), "--class-names", "cat, hot dog"])
    meta = load_description(output)
    assert meta.class_names == ("cat", "hot dog")
    assert meta.config["num_classes"] == 2
    assert meta.category_ids == ()
    assert "loaded: " in capsys.readouterr().out
