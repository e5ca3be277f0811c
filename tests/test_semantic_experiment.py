"""Train, evaluate, resume and predict label maps through the commands' own functions."""

import json
import shutil
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import tests.quick_parts  # noqa: F401  (adds the backbone)
from pointrend_jax.cli import main
from pointrend_jax.evaluation.semantic_scores import load_counts, score
from pointrend_jax.experiment import evaluate_run, train
from pointrend_jax.predict.formats import chosen_formats
from pointrend_jax.predict.inputs import check_files
from pointrend_jax.predict.sources import ImageSource
from pointrend_jax.structures import Config
from pointrend_jax.training.saved_variables import load_variables
from pointrend_jax.training.trees import flat
from tests.data.label_sets import blocks, painted, write_camvid
from tests.tiny import tiny_semantic_config

# One bucket: every program of it is compiled here.
_SIZES = ((64, 96), (60, 90), (40, 60))
_GROUPS = {"rendered", "coarse"}


def _config(root: Path) -> Config:
    config = tiny_semantic_config(backbone="patches")
    config.num_classes, config.model.semantic.norm = 11, "batch_norm"
    config.data.source = config.data.categories = "camvid"
    config.data.dir, config.data.cache_dir = str(root / "set"), str(root / "cache")
    config.data.train_min_sizes, config.data.eval_min_size = (64, 80), 64
    config.data.max_size, config.data.buckets = 128, ((64, 96), (96, 64))
    config.data.color_augmentation, config.data.crop_max_category_area = True, 0.9
    config.train.steps, config.train.learning_rate, config.train.log_every = 4, 0.002, 2
    config.train.eval_every, config.train.checkpoint_every = 0, 2
    config.eval.tta_scales, config.eval.tta_flip = (0.5,), True
    return config


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("semantic")
    for split in ("train", "val"):
        write_camvid(folder / "set", split, [blocks(hw, i, 16) for i, hw in enumerate(_SIZES)])
    train(_config(folder), folder / "work")
    return folder


def test_training_leaves_scores_with_test_time_augmentation_beside_the_others(root: Path) -> None:
    results = json.loads((root / "work" / "results.json").read_text())
    assert results["step"] == 4
    augmented = {f"test_time_augmentation_{group}" for group in _GROUPS}
    assert augmented < set(results)
    for group in _GROUPS | augmented:
        assert 0 <= results[group]["miou"] <= 1
        assert "trimap_miou_1" in results[group]
    # Other views give other numbers, and coarse is not the rendered one once more.
    for group in _GROUPS:
        assert results[f"test_time_augmentation_{group}"] != results[group]
    assert results["test_time_augmentation_coarse"] != results["test_time_augmentation_rendered"]


def test_training_leaves_a_report_of_label_maps(root: Path) -> None:
    results = json.loads((root / "work" / "results.json").read_text())
    page = (root / "work" / "report.html").read_text()
    images = results["images"]
    assert (len(images["best"]), len(images["worst"]), images["scored"]) == (2, 1, 3)
    assert images["best"][0]["quality"] >= images["worst"][0]["quality"]
    assert page.count("data:image/jpeg") == 6
    assert "With test-time augmentation" in page
    pixels = sum(height * width for height, width in _SIZES)
    assert 0 < sum(pair["count"] for pair in results["confusion"]["pairs"]) <= pixels


def test_eval_repeats_the_scores_and_keeps_counts_by_image(root: Path) -> None:
    of_training = json.loads((root / "work" / "results.json").read_text())
    results = evaluate_run(root / "work")
    for group in _GROUPS:
        assert results[group] == of_training[group]
    counts = load_counts(root / "work" / "counts.npz")
    assert score(counts)["rendered"]["miou"] == results["rendered"]["miou"]


def test_a_run_that_stopped_half_way_ends_as_the_whole_one(root: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(root / "work", stopped)
    shutil.rmtree(stopped / "checkpoints" / "4")
    resumed = train(_config(root), stopped, evaluate_at_end=False)
    whole, _, step = load_variables(root / "work")
    assert step == 4
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    learned = [leaf for path, leaf in flat(resumed["buffers"]).items() if path.endswith("/mean")]
    assert learned
    assert all(float(abs(means).max()) > 0 for means in learned)


def test_predict_writes_labels_overlays_and_explanations(root: Path, tmp_path: Path) -> None:
    Image.fromarray(painted(blocks((80, 120), 5))).save(tmp_path / "a.png")
    Image.fromarray(painted(blocks((60, 60), 6))).save(tmp_path / "b.jpg")
    out = tmp_path / "out"
    images = [str(tmp_path / "a.png"), str(tmp_path / "b.jpg")]
    options = ["--checkpoint", str(root / "work"), "--explain", "--output", str(out)]
    main(["predict", *images, *options, "--format", "overlay,png,svg"])
    with Image.open(out / "a_labels.png") as labels:
        assert (labels.size, labels.mode) == ((120, 80), "P")
        assert np.asarray(labels).max() < 11
    names = {path.name for path in out.iterdir()}
    assert {"a.png", "a.svg", "a_explain.png", "b.png", "b_explain.png", "b_labels.png"} < names
    classes = json.loads((out / "classes.json").read_text())
    assert (classes["classes"][3]["name"], classes["void"]) == ("road", 255)


def test_predict_tiles_an_array_file(root: Path, tmp_path: Path) -> None:
    image = painted(blocks((100, 210), 7))
    np.save(tmp_path / "big.npy", image)
    Image.fromarray(image).save(tmp_path / "same.png")
    files = [str(tmp_path / "big.npy"), str(tmp_path / "same.png")]
    out = tmp_path / "out"
    options = ["--tile", "96", "--overlap", "32", "--output", str(out)]
    main(["predict", *files, "--checkpoint", str(root / "work"), *options])
    labels = np.load(out / "big_labels.npy")
    assert (labels.shape, labels.dtype) == ((100, 210), np.uint8)
    with Image.open(out / "same_labels.png") as same:
        np.testing.assert_array_equal(np.asarray(same), labels)
    assert (out / "big.png").is_file()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--tile", "100"], "multiples of 32"),
        (["--tile", "96", "--overlap", "32", "--explain"], "leave it or --tile out"),
        (["--overlap", "32"], "give --tile too"),
        (["--score-threshold", "0.3"], "for models of instances"),
        (["--no-boxes"], "--no-boxes and --line-width are for models of instances"),
        (["--format", "png,yolo"], "yolo cannot be written: this model gives label maps, whose"),
        (["--every", "2"], "--every is of the frames of videos"),
    ],
)
def test_impossible_options_are_refused(
    root: Path, tmp_path: Path, options: list[str], match: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    places = ["--checkpoint", str(root / "work"), "--output", str(tmp_path / "o")]
    with pytest.raises(ValueError, match=match):
        main(["predict", str(tmp_path / "a.png"), *places, *options])
    assert not list((tmp_path / "o").glob("*"))


def test_results_never_overwrite_an_image_or_each_other(tmp_path: Path) -> None:
    for name in ("a", "a_labels"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    images = [ImageSource(tmp_path / "a.png"), ImageSource(tmp_path / "a_labels.png")]
    check = partial(check_files, formats=chosen_formats((), "semantic"), task="semantic")
    with pytest.raises(ValueError, match=r"the results a\.png would overwrite"):
        check(images[:1], tmp_path)
    with pytest.raises(ValueError, match=r"the results a_labels\.png would overwrite"):
        check(images, tmp_path / "out")
    assert [name for name, *_ in check(images[:1], tmp_path / "out")] == ["a"]
