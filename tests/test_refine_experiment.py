"""A refiner is trained, resumed, scored and used by the commands that train everything else."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pointrend_jax
import tests.quick_parts  # noqa: F401  (adds the backbone)
from pointrend_jax.cli import main
from pointrend_jax.config_rules import check_config
from pointrend_jax.data.build_crops import build_crop_datasets
from pointrend_jax.experiment import evaluate_run, train
from pointrend_jax.masks.degrade import KINDS
from pointrend_jax.predict.load import load, model_config
from pointrend_jax.structures import Config, check_shapes
from pointrend_jax.tasks.build import build_task
from pointrend_jax.weights import starting_weights
from tests.lite_weights import lite_file
from tests.tiny_refiner import ellipse, photo, refiner_config


def _config(cache: Path) -> Config:
    config = refiner_config()
    config.model.backbone, config.model.freeze_at, config.init.weights = "patches", 0, ""
    data, settings = config.data, config.train
    data.source, data.cache_dir = "embedded", str(cache)
    data.embedded.image_size, data.embedded.num_train, data.embedded.num_eval = 64, 6, 4
    settings.steps, settings.learning_rate, settings.warmup_steps = 2, 0.01, 0
    settings.milestones, settings.log_every, settings.eval_every = (), 1, 0
    check_config(config, to_train=True)
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, scored."""
    folder = tmp_path_factory.mktemp("refiner")
    train(_config(folder / "cache"), folder / "run")
    return folder


def test_a_refiner_starts_from_the_published_weights_of_its_backbone() -> None:
    lite_file(0)
    config = refiner_config()
    weights = starting_weights(config, build_task(config))
    assert weights is not None
    assert {path.split("/")[1] for path in weights.arrays} == {"backbone"}
    assert weights.report.left
    assert not [name for name in weights.report.left if "backbone" in name]


def test_a_batch_is_a_function_of_its_number_and_shared_by_processes(folder: Path) -> None:
    datasets = build_crop_datasets(_config(folder / "cache"))
    batches = datasets.train_batches(0, 1, 0)
    whole = [next(batches) for _ in range(3)]
    later = next(datasets.train_batches(0, 1, 2))
    parts = [next(datasets.train_batches(i, 2, 2)) for i in (0, 1)]
    for name, value in whole[2]._asdict().items():
        np.testing.assert_array_equal(getattr(later, name), value, err_msg=name)
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, value, err_msg=name)
    for batch in whole:
        check_shapes(batch)
        assert batch.truth.any(axis=(1, 2)).all()
    assert not all(np.array_equal(b.given, b.truth) for b in whole)


def test_every_object_of_the_evaluation_is_scored_as_given_and_as_refined(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = json.loads((folder / "run" / "results.json").read_text())
    assert results["coarse"].keys() == results["rendered"].keys()
    assert 0 < results["coarse"]["boundary_iou"] < 1
    metrics = [json.loads(x) for x in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss_mask_point", "loss_outline_error"} <= metrics[0].keys()
    assert all(record["gradient_norm"] > 0 for record in metrics if "gradient_norm" in record)
    number = results["images"]["scored"]
    evaluate_run(folder / "run", output=folder / "scores")
    assert f"evaluated {number} objects: " in capsys.readouterr().out
    again = json.loads((folder / "scores" / "results.json").read_text())
    assert again["coarse"] == results["coarse"]
    objects = json.loads((folder / "scores" / "refined.json").read_text())["objects"]
    assert [o["kind"] for o in objects] == [KINDS[i % len(KINDS)] for i in range(number)]
    given = {o["kind"]: o["given"] for o in objects}
    assert given["true"] == 1
    page = (folder / "scores" / "report.html").read_text()
    assert "one refined mask" in page


def test_a_run_goes_on_and_is_not_another_task(folder: Path) -> None:
    config = _config(folder / "cache")
    train(config, folder / "run")
    assert model_config(folder / "run").task == "refine"
    with pytest.raises(ValueError, match=r"pointrend_jax refine --images"):
        load(folder / "run")
    with pytest.raises(ValueError, match=r"pointrend_jax refine --images"):
        main(["predict", "x.jpg", f"--checkpoint={folder / 'run'}", f"--output={folder / 'out'}"])


def test_the_run_refines_masks_in_python_and_by_the_command(folder: Path) -> None:
    refined = pointrend_jax.refine(photo(), [ellipse()], checkpoint=folder / "run")
    assert refined.boolean().shape == (1, 60, 80)
    (folder / "photos").mkdir()
    Image.fromarray(photo()).save(folder / "photos" / "a.png")
    images = [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}]
    box = [[20, 20, 60, 20, 60, 40, 20, 40]]
    annotations = [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": box}]
    content = {"images": images, "annotations": annotations}
    (folder / "coarse.json").write_text(
        json.dumps(content | {"categories": [{"id": 1, "name": "x"}]})
    )
    files = {"images": "photos", "annotations": "coarse.json", "output": "fine.json"}
    flags = [f"--{name}={folder / file}" for name, file in files.items()]
    main(["refine", *flags, f"--checkpoint={folder / 'run'}", "--keep-below=1000000"])
    written = json.loads((folder / "fine.json").read_text())["annotations"]
    assert written == [
        annotations[0]
        | {
            "refined": {
                "changed_pixels": 0,
                "changed_share": 0.0,
                "changed_bbox": None,
                "left_alone": True,
            }
        }
    ]
