"""A folder of images becomes an experiment that can be read, edited and given back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.cli import command_parser, main
from pointrend_jax.cli.runs import chosen_config
from pointrend_jax.config import load_config
from pointrend_jax.config_rules import check_config
from pointrend_jax.data.sources.known import OBJECT_SETS
from pointrend_jax.data.splits import split_finder
from pointrend_jax.inspection import PAGE, inspect
from pointrend_jax.plan import plan_for
from pointrend_jax.planned_config import FILE, config_text, planned_config
from pointrend_jax.tasks.scoring import build_task_eval_set
from tests.data.label_sets import blocks, write_camvid

_OUTLINE = [10.0, 10.0, 60.0, 10.0, 60.0, 50.0, 10.0, 50.0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 images of two classes, 12 wide and 8 tall, with one file of annotations."""
    root = tmp_path / "pets"
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(20):
        size = (160, 120) if i < 12 else (120, 160)
        noise = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(noise).save(root / "images" / f"{i}.jpg")
        images.append({"id": i, "file_name": f"{i}.jpg", "width": size[0], "height": size[1]})
        annotations.append(
            {"id": i, "image_id": i, "category_id": i % 2, "segmentation": [_OUTLINE]}
            | {"bbox": [10, 10, 50, 40], "area": 2000, "iscrowd": 0}
        )
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "result.json").write_text(json.dumps(content))
    return root


def _planned(folder: Path, workdir: Path) -> Any:
    config = load_config(planned_config(folder, workdir))
    check_config(config, to_train=True)
    return config


def test_the_plan_is_a_config_that_trains_the_classes_and_sizes_of_the_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _planned(folder, tmp_path / "run")
    assert (config.task, config.num_classes, config.name) == ("instance", 2, "pets")
    assert (config.data.dir, config.data.train_annotations) == (str(folder), "result.json")
    assert config.data.held_out == 0.15
    # The shorter edge is 120 px, in canvases of whole cells of 32, at least 4 of them.
    assert (config.data.eval_min_size, config.data.max_size) == (128, 192)
    assert config.data.buckets == ((128, 192), (192, 128))
    assert config.init.weights == "efficientnet_lite0"
    assert max(config.train.milestones) < config.train.steps
    printed = capsys.readouterr().out
    assert "17 images to train on, 2 classes" in printed
    assert "15% of the images are held out" in printed
    assert f"--config {tmp_path / 'run' / FILE}" in printed


def test_a_published_model_starts_anew_where_the_classes_count(
    folder: Path, tmp_path: Path
) -> None:
    name = "pointrend_rcnn_r50_fpn_3x_coco"
    config = load_config(planned_config(folder, tmp_path / "run", name))
    check_config(config, to_train=True)
    assert (config.init.weights, config.model.backbone) == (name, "resnet50")
    assert (config.num_classes, config.data.source, config.data.dir) == (2, "coco", str(folder))
    # As in configs/pennfudan_from_coco.py, whose list of modules was made by hand.
    point_head = {f"mask_head/point_head/{name}" for name in ("fc1", "fc2", "fc3", "predictor")}
    assert set(config.init.reset) == point_head | {
        "box_head/classifier", "box_head/deltas", "mask_head/coarse_head/predictor"
    }  # fmt: skip
    with pytest.raises(ValueError, match="does not start from mask_rcnn_r50_fpn_3x_coco"):
        planned_config(folder, tmp_path / "run", "mask_rcnn_r50_fpn_3x_coco")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pointrend_r50", "Published models are"),
        ("deeplab_v3_r103_cityscapes", "gives label maps, but .* there are objects"),
    ],
)
def test_a_model_that_cannot_start_a_plan_is_refused(name: str, message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        plan_for(folder, name)


def test_square_images_have_one_canvas(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "result.json").read_text())
    for image in content["images"]:
        image["width"] = image["height"] = 160
    (folder / "result.json").write_text(json.dumps(content))
    assert _planned(folder, tmp_path / "run").data.buckets == ((160, 160),)


def test_a_canvas_holds_the_one_tall_image_that_is_held_out(folder: Path, tmp_path: Path) -> None:
    held_out = _planned(folder, tmp_path / "first")
    tall = split_finder(held_out, OBJECT_SETS)("eval").dataset.images[0].id
    content = json.loads((folder / "result.json").read_text())
    for image in content["images"]:
        size = (120, 160) if image["id"] == tall else (160, 120)
        image["width"], image["height"] = size
        Image.new("RGB", size, (90, 90, 90)).save(folder / "images" / image["file_name"])
    (folder / "result.json").write_text(json.dumps(content))
    config = _planned(folder, tmp_path / "run").copy_and_resolve_references().unlock()
    assert config.data.buckets == ((128, 192), (192, 128))
    # What a training asks of the set before its first step.
    config.data.cache_dir = str(tmp_path / "cache")
    assert build_task_eval_set(config).num_eval_images == 3


def test_a_canvas_holds_the_one_tall_label_map_of_the_evaluation(tmp_path: Path) -> None:
    root = tmp_path / "streets"
    write_camvid(root, "train", [blocks((64, 96), seed) for seed in range(4)])
    write_camvid(root, "val", [blocks((96, 64), 9)])
    config = _planned(root, tmp_path / "run")
    assert build_task_eval_set(config).num_eval_images == 1


def test_label_maps_are_planned_as_such(tmp_path: Path) -> None:
    root = tmp_path / "streets"
    write_camvid(root, "train", [blocks((64, 96), seed) for seed in range(4)])
    write_camvid(root, "val", [blocks((64, 96), 9)])
    config = _planned(root, tmp_path / "run")
    assert (config.task, config.num_classes, config.train.schedule) == ("semantic", 11, "poly")
    assert all(side % 32 == 0 for side in config.data.crop_hw)


def test_a_run_goes_on_by_the_config_that_it_began_with(folder: Path, tmp_path: Path) -> None:
    path = planned_config(folder, tmp_path / "run")
    edited = path.read_text().replace("config.train.steps = ", "config.train.steps = 1 + ")
    path.write_text(edited)
    assert planned_config(folder, tmp_path / "run") == path
    assert path.read_text() == edited
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"is for the data in .*pets, not in .*other; choose"):
        planned_config(tmp_path / "other", tmp_path / "run")


def test_names_with_quotes_do_not_break_the_file(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "result.json").read_text())
    content["categories"][0]["name"] = 'a "cat"\n\\ # """'
    (folder / "result.json").write_text(json.dumps(content))
    named = folder.rename(folder.parent / 'it"s')
    path = tmp_path / "own.py"
    path.write_text(config_text(plan_for(named), named))
    assert load_config(path).data.dir == str(named)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give one of --data, the folder .* and --config"),
        (["--data=a", "--config=demo"], "give one of --data"),
        (["--config=demo", "--weights=x"], r"--config\.init\.weights=x"),
    ],
)
def test_the_command_needs_data_or_a_config(flags: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(["train", "--workdir=runs/none", *flags])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.source", "tfds", "reads the files that a set is distributed as, not record files"),
        ("train.batch_size", 0, r"config\.train\.batch_size must be a whole number from 1"),
        (
            "data.train_min_sizes",
            (),
            r"config\.data\.train_min_sizes must be a tuple of at least 1",
        ),
    ],
    ids=["record files", "no image a batch", "no size"],
)
def test_an_inspection_refuses_what_it_cannot_show(
    field: str, value: Any, message: str, tmp_path: Path
) -> None:
    config = load_config("demo").copy_and_resolve_references()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message):
        inspect(config, tmp_path / "look")
    assert not (tmp_path / "look").exists()


def test_an_inspection_shows_numbers_and_pictures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(planned_config(folder, tmp_path / "look")).copy_and_resolve_references()
    config.data.cache_dir = str(tmp_path / "cache")
    inspect(config, tmp_path / "look")
    printed = capsys.readouterr().out
    assert "train: 17 images, 17 objects" in printed
    assert "eval: 3 images, 3 objects" in printed
    assert "120 x 160 in the middle, 120 x 120 at least, 160 x 160 at most" in printed
    assert "0% small, 100% medium, 0% large" in printed
    page = np.asarray(Image.open(tmp_path / "look" / PAGE))
    # Three rows of four fields of 400 px, with gaps.
    assert page.shape[0] > 1200
    assert page.shape[1] > 1600


def test_a_refiner_is_planned_for_any_set_of_objects(folder: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "refiner"
    flags = [f"--data={folder}", "--config=refine", f"--workdir={workdir}"]
    config = load_config(chosen_config(command_parser("train").parse_args(flags), workdir))
    check_config(config, to_train=True)
    assert (config.task, config.num_classes, config.data.held_out) == ("refine", 1, 0.15)
    assert (config.data.dir, config.data.train_annotations) == (str(folder), "result.json")
    assert config.data.buckets == ((192, 192),)
    # The same command goes on; another kind of model does not.
    assert planned_config(folder, workdir, refiner=True) == workdir / FILE
    with pytest.raises(ValueError, match=r"is of config.task 'refine'; choose another"):
        planned_config(folder, workdir)
    with pytest.raises(ValueError, match="a refiner has its own start"):
        planned_config(folder, workdir, "mask_rcnn_r50_fpn_3x_coco", refiner=True)


def test_a_refiner_of_label_maps_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "streets"
    for split in ("train", "val"):
        write_camvid(root, split, [blocks((64, 96), 0)])
    with pytest.raises(ValueError, match=r"holds label maps .*; a refiner learns from masks"):
        planned_config(root, tmp_path / "run", refiner=True)
