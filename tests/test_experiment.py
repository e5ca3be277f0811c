"""Train, evaluate, resume and predict through the commands' own functions, on drawn images."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from pointrend_jax.cli import main
from pointrend_jax.data.sources.categories import class_names
from pointrend_jax.experiment import evaluate_run, train
from pointrend_jax.masks.rle import rle_area, rle_iou
from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.load import load
from pointrend_jax.results.masks import PredictedMasks
from pointrend_jax.training.saved_variables import load_variables, save_variables
from tests.tiny_run import TinyRun, tiny_run_config


@pytest.fixture(scope="module")
def workdir(tiny_run: TinyRun) -> Path:
    return tiny_run.workdir


@pytest.fixture(scope="module")
def predictor(workdir: Path) -> Predictor:
    loaded = load(workdir)
    assert isinstance(loaded, Predictor)
    return loaded


def test_training_leaves_results_of_rendered_and_coarse_masks(workdir: Path) -> None:
    results = json.loads((workdir / "results.json").read_text())
    assert results["step"] == 4
    for source in ("rendered", "coarse"):
        assert {"mask_ap", "mask_ap75", "boundary_ap"} <= set(results[source])
    assert "box_ap" in results["box"]


def test_training_leaves_a_report_with_its_curves_and_pictures(workdir: Path) -> None:
    results = json.loads((workdir / "results.json").read_text())
    page = (workdir / "report.html").read_text()
    assert f"Evaluation of {workdir.name}" in page
    shown = [image["name"] for which in ("best", "worst") for image in results["images"][which]]
    assert len(shown) == results["images"]["scored"] == len(set(shown))
    assert page.count("data:image/jpeg") == 2 * len(shown) > 0
    assert all(name in page for name in shown)
    assert results["confusion"]["classes"][0] == "gear"
    assert sum(pair["count"] for pair in results["confusion"]["pairs"]) > 0
    # Losses of each step, and the scores of the last, which metrics.jsonl gets after the page.
    assert ">Losses<" in page
    assert ">Scores<" in page


def test_eval_of_weights_without_names_takes_those_of_the_data_and_repeats_the_scores(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_training = json.loads((workdir / "results.json").read_text())
    variables, meta, _ = load_variables(workdir)
    nameless = meta._replace(class_names=class_names("", 6))
    save_variables(tmp_path / "converted", variables, nameless)
    results = evaluate_run(tmp_path / "converted", output=tmp_path / "out")
    assert "taken for those of the data set, in that order: gear, leaf" in capsys.readouterr().out
    assert results["rendered"] == of_training["rendered"]
    assert not (tmp_path / "converted" / "results.json").exists()
    # It has no training behind it.
    assert ">Losses<" not in (tmp_path / "out" / "report.html").read_text()
    detections = json.loads((tmp_path / "out" / "detections_rendered.json").read_text())
    assert {d["category_id"] for d in detections} <= {1, 2, 3, 4, 5, 6}


def _areas(masks: PredictedMasks) -> np.ndarray:
    return np.asarray([rle_area(rle) for rle in masks.rle()])


def test_what_is_scored_is_what_a_user_gets(
    workdir: Path, predictor: Predictor, tmp_path: Path
) -> None:
    evaluate_run(workdir, output=tmp_path / "out")
    (annotations,) = (workdir.parent / "cache").rglob("annotations/eval.json")
    compared = 0
    for image in json.loads(annotations.read_text())["images"]:
        with Image.open(annotations.parents[1] / "eval" / image["file_name"]) as file:
            instances = predictor.predict(np.asarray(file))
        for source, masks in (("rendered", instances.masks), ("coarse", instances.coarse_masks)):
            detections = json.loads((tmp_path / "out" / f"detections_{source}.json").read_text())
            own = [d for d in detections if d["image_id"] == image["id"]]
            # Other programs, on as many devices as there are: rounding.
            np.testing.assert_allclose([d["score"] for d in own], instances.scores, rtol=1e-5)
            overlaps = rle_iou([d["segmentation"] for d in own], masks.rle(), [0] * len(own))
            assert (np.diagonal(overlaps)[_areas(masks) > 0] > 0.99).all()
            compared += len(own)
    assert compared > 0


def test_a_run_that_is_older_than_some_fields_is_scored_as_before(
    workdir: Path, tmp_path: Path
) -> None:
    variables, meta, _ = load_variables(workdir)
    config = meta.config
    for group, names in (
        ("data", ("class_names", "channels", "held_out")),
        ("eval", ("tta_flip",)),
    ):
        config[group] = {k: v for k, v in config[group].items() if k not in names}
    save_variables(tmp_path / "old", variables, meta._replace(config=config))
    expected = json.loads((workdir / "results.json").read_text())
    assert evaluate_run(tmp_path / "old")["rendered"] == expected["rendered"]


def test_eval_refuses_data_with_other_classes(workdir: Path, tmp_path: Path) -> None:
    config = tiny_run_config(tmp_path)
    config.num_classes = 5
    with pytest.raises(ValueError, match=r"config\.num_classes is 5"):
        evaluate_run(workdir, config)


def test_eval_tries_the_place_of_its_results_first(workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"^--output .*file/out cannot be written to"):
        evaluate_run(workdir, output=tmp_path / "file" / "out")


def test_a_setting_that_cannot_be_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    config = tiny_run_config(tmp_path)
    config.train.learning_rate = -0.1
    with pytest.raises(ValueError, match=r"config\.train\.learning_rate must be .* got -0\.1"):
        train(config, tmp_path / "work")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schedule", "cosine", "schedule must be 'multistep' or 'poly', got 'cosine'"),
        ("accumulate_steps", 3, "accumulate_steps must divide the images of a device, got 3 for"),
        ("rate_multipliers", (("mask_hed", 10.0),), "rate_multipliers names 'mask_hed'"),
    ],
)
def test_a_setting_of_the_optimizer_is_refused_before_data_are_read(
    field: str, value: Any, message: str, tmp_path: Path
) -> None:
    config = tiny_run_config(tmp_path / "cache")
    config.train[field] = value
    with pytest.raises(ValueError, match=message):
        train(config, tmp_path / "work")
    assert not (tmp_path / "cache").exists()


def test_two_runs_that_are_only_told_to_be_deterministic_have_the_same_bits(
    workdir: Path, tmp_path: Path
) -> None:
    config = tiny_run_config(workdir.parent / "cache")
    config.train.deterministic, config.train.steps = True, 2
    trained = [train(config, tmp_path / name, evaluate_at_end=False) for name in ("a", "b")]
    jax.tree.map(np.testing.assert_array_equal, *trained)


def test_training_again_with_the_same_workdir_does_nothing_more(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (workdir / "metrics.jsonl").read_text()
    train(tiny_run_config(workdir.parent / "cache"), workdir)
    assert "resuming" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_text() == lines


@pytest.mark.parametrize("hw", [(64, 64), (1, 1), (50, 200), (300, 40)])
def test_predictor_gives_masks_of_the_size_of_any_image(
    predictor: Predictor, hw: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*hw, 3), dtype=np.uint8)
    instances = predictor.predict(image)
    assert len(instances.scores) == len(instances.masks) == len(instances.boxes)
    for rle in instances.masks.rle():
        assert decode_rle(rle).shape == hw
    if len(instances.boxes):
        assert instances.boxes[:, 2].max() <= hw[1]
        assert instances.boxes[:, 3].max() <= hw[0]


def test_explained_steps_end_in_the_predicted_mask(predictor: Predictor) -> None:
    image = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    boxes = np.array([[8.0, 8.0, 56.0, 56.0]], np.float32)
    explained = predictor.explain(image, boxes, np.array([2]))[0]
    sides = [len(step.mask_probs) for step in explained.steps]
    assert sides == [14, 28, 56]
    assert explained.coarse_probs.shape == (7, 7)
    assert all(step.point_coords.min() >= 0 for step in explained.steps)
    assert all(step.point_coords.max() <= 1 for step in explained.steps)


def test_predict_writes_overlays_instances_and_explanations(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.jpg")
    out = tmp_path / "out"
    images = [str(tmp_path / "a.png"), str(tmp_path / "grey.jpg")]
    options = ["--score-threshold", "0", "--explain", "1", "--output", str(out)]
    main(["predict", *images, "--checkpoint", str(workdir), *options])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{out} has NAME.png (the masks on the image), instances.json and ")
    content = json.loads((out / "instances.json").read_text())
    assert [i["file_name"] for i in content["images"]] == ["a.png", "grey.jpg"]
    with Image.open(out / "a.png") as picture:
        assert picture.size == (120, 80)
    # Those of the data set, which the checkpoint keeps.
    assert [c["id"] for c in content["categories"]] == [1, 2, 3, 4, 5, 6]
    if any(a["image_id"] == 1 for a in content["annotations"]):
        assert (out / "a_explain_1.png").is_file()


def test_predict_names_every_bad_image_before_it_loads_anything(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointrend_jax.cli.predict.load", None)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    images = [str(tmp_path / "broken.jpg"), str(tmp_path / "missing.png")]
    with pytest.raises(ValueError, match=r"(?s)no image was predicted.*broken\.jpg.*missing\.png"):
        main(["predict", *images, "--checkpoint", str(workdir), "--output", str(tmp_path / "o")])


def test_an_unknown_format_is_told_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "a.png", "--checkpoint", "c", "--output", "o", "--format", "yolo,voc"])
    assert "'voc' is no format; there are overlay, coco, polygons, png" in capsys.readouterr().err


def test_a_home_folder_that_is_not_known_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "a.png", "--checkpoint", "~nobody-here/x", "--output", "o"])
    assert "'~nobody-here/x' begins with ~" in capsys.readouterr().err


def test_predict_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    options = ["--checkpoint", str(tmp_path), "--output", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="has no checkpoints"):
        main(["predict", str(tmp_path / "a.png"), *options])
