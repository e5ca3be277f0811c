"""Which scores a data set gets: by COCO's rules, by Cityscapes', and each in its own group."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from pointrend_jax.cityscapes_labels import INSTANCE_CLASSES
from pointrend_jax.data.build_objects import build_eval_set
from pointrend_jax.data.sources.categories import COCO
from pointrend_jax.experiment import save_results
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.masks import PredictedMasks
from pointrend_jax.structures import (
    Config,
    Detections,
    EvalSample,
    ImageBatch,
    InstancePredictions,
)
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.scoring import build_task_eval_set, score
from pointrend_jax.tasks.task import Task
from tests.data import lvis_files
from tests.data.label_sets import write_frame
from tests.tiny import tiny_config, tiny_variables

_ROAD, _PERSON, _CAR = 7, 24, 26


def _config(root: Path) -> Config:
    config = tiny_config()
    config.num_classes, config.data.source, config.data.categories = 8, "cityscapes", "cityscapes"
    config.data.dir, config.data.cache_dir = str(root / "set"), str(root / "cache")
    config.data.eval_min_size, config.data.max_size = 64, 96
    config.data.buckets = ((64, 96), (96, 64))
    # Everything above chance: an untrained model should find something to be scored.
    config.model.box.score_threshold = 0.01
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("cityscapes")
    for number in range(3):
        ids = np.full((64, 96), _ROAD, np.int32)
        ids[10:40, 10:40], ids[20:60, 50:90] = _PERSON, 1000 * _CAR + number
        write_frame(root / "set", "val", f"aachen_00000{number}_000019", ids)
    return _config(root)


def test_instances_of_cityscapes_are_scored_by_both_rules(config: Config, tmp_path: Path) -> None:
    config = config.copy_and_resolve_references()
    config.eval.tta_scales = (1.0,)
    task = build_task(config)
    scores = score(task, tiny_variables(task), build_task_eval_set(config), config)
    assert {"mask_ap", "boundary_ap"} <= set(scores.results["rendered"])
    official = scores.results["cityscapes_rendered"]
    assert set(official) == {"mask_ap", "mask_ap50"}
    by_class = scores.results["cityscapes_rendered_ap"]
    assert set(by_class) == set(INSTANCE_CLASSES)
    # There are cars; the only person is a group, which is not to be found.
    assert by_class["car"] is not None
    assert by_class["person"] is None
    assert by_class["bus"] is None
    assert "Cityscapes AP50" in scores.table
    # A single view that changes nothing.
    for group in ("rendered", "coarse", "box", "cityscapes_rendered"):
        augmented = scores.results[f"test_time_augmentation_{group}"]
        assert augmented == pytest.approx(scores.results[group], abs=1e-6)
    save_results(tmp_path, scores, 4, name="a run", metrics=[])
    page = (tmp_path / "report.html").read_text()
    assert "AP by Cityscapes&#39; rules" in page or "AP by Cityscapes' rules" in page
    # The objects of three images and nothing else, whatever the model finds.
    assert sum(scores.details["sizes"]["objects"]) == 3


def _two_found(_: Any, batch: ImageBatch) -> InstancePredictions:
    """In place of a model: two masks with holes and notches on every image."""
    images = batch.valid.shape[0]
    boxes = np.asarray([[3.5, 2.25, 80, 50], [40, 10.5, 96, 64]], np.float32)
    logits = np.random.default_rng(0).normal(size=(2, 14, 14)).cumsum(1).astype(np.float32)

    def each(array: Any) -> jax.Array:
        return jnp.tile(jnp.asarray(array)[None], (images, *(1,) * np.ndim(array)))

    found = jnp.tile(batch.valid[:, None], (1, 2))
    scores, nothing = np.asarray([0.9, 0.4], np.float32), np.zeros(2, np.int32)
    detections = Detections(each(boxes), each(scores), each(nothing), found)
    return InstancePredictions(detections, each(logits), each(logits[:, ::2, ::2]))


def test_an_evaluation_is_the_same_where_the_device_pastes(
    config: Config, tmp_path: Path, trace_for: Callable[[str], None]
) -> None:
    for platform in ("cpu", "gpu"):
        trace_for(platform)
        task = build_task(config)._replace(predict=_two_found)
        assert (task.deliver is None) == (platform == "cpu")
        (tmp_path / platform).mkdir()
        scores = score(task, {}, build_task_eval_set(config), config)
        scores.save_details(tmp_path / platform)
    for name in ("detections_rendered.json", "detections_coarse.json"):
        host, device = (json.loads((tmp_path / p / name).read_text()) for p in ("cpu", "gpu"))
        assert len(host) == 6
        assert device == host


def _finding(config: Config, boxes: list[list[float]], scores: list[float], label: int) -> Task:
    """In place of a model: one that finds these boxes on every image, and fills them."""
    found, number = np.asarray(boxes, np.float32), len(boxes)

    def results(
        sample: EvalSample, delivered: Any, class_names: tuple[str, ...]
    ) -> Iterator[PredictedInstances]:
        for hw in sample.original_hw:
            masks = PredictedMasks(np.full((number, 4, 4), 9, np.float32), found, hw)
            names = (class_names[label],) * number
            yield PredictedInstances(
                found, np.asarray(scores, np.float32), np.full(number, label), names, masks, masks
            )

    return build_task(config)._replace(predict=lambda _, batch: batch.valid, results=results)


@pytest.mark.parametrize(("not_exhaustive", "expected"), [([2], 1.0), ([], 0.5)])
def test_coco_classes_are_scored_on_lvis_by_its_rules(
    not_exhaustive: list[int], expected: float, tmp_path: Path
) -> None:
    content = lvis_files.content(lvis_files.annotation(1, 10, 2))
    content["images"][1]["not_exhaustive_category_ids"] = not_exhaustive
    config = _config(tmp_path)
    config.num_classes, config.data.source = 80, "cocofied_lvis"
    config.data.eval_annotations = lvis_files.write(tmp_path / "set", content).name
    # A cow where `lvis_files` has its objects, and a better one elsewhere.
    boxes, scores = [[0.0, 0, 9, 2], [2, 2, 6, 6]], [0.9, 0.5]
    task = _finding(config, boxes, scores, COCO.index("cow"))
    scores = score(task, {}, build_task_eval_set(config), config)
    # The other images do not say whether they have cows.
    assert scores.results["rendered"]["mask_ap"] == pytest.approx(expected)
    assert scores.results["rendered"]["mask_ap_common"] == pytest.approx(expected)
    assert scores.results["rendered"]["mask_ap_rare"] is None
    assert scores.results["box"]["box_ar300"] == pytest.approx(1)
    assert "mask APc" in scores.table
    # The one elsewhere is false only where all cows are annotated.
    false = [p["count"] for p in scores.details["confusion"]["pairs"] if p["true"] is None]
    assert false == ([] if not_exhaustive else [1])


def test_a_set_without_annotations_is_predicted_under_its_own_ids_and_not_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path)
    config.num_classes, config.data.source, config.data.eval_images = 1, "coco", ""
    config.data.eval_annotations = "info.json"
    (tmp_path / "set").mkdir()
    Image.new("RGB", (lvis_files.WIDTH, lvis_files.HEIGHT)).save(tmp_path / "set" / "a.png")
    image = {"id": 77, "file_name": "a.png"}
    image |= {"height": lvis_files.HEIGHT, "width": lvis_files.WIDTH}
    content = {"images": [image], "categories": [{"id": 5, "name": "cow"}]}
    (tmp_path / "set" / "info.json").write_text(json.dumps(content))
    config.model.box.detections_per_image = 300
    task = _finding(config, [[0.0, 0, 9, 9]], [0.5], 0)
    scores = score(task, {}, build_task_eval_set(config), config)
    assert scores.results == {}
    assert "nothing is scored" in scores.table
    scores.save_details(tmp_path)
    for source in ("rendered", "coarse"):
        (found,) = json.loads((tmp_path / f"detections_{source}.json").read_text())
        assert (found["image_id"], found["category_id"]) == (77, 5)
    (tmp_path / "results.json").write_text("of training")
    save_results(tmp_path, scores, 4, name="a run", metrics=[])
    assert (tmp_path / "results.json").read_text() == "of training"
    assert not (tmp_path / "report.html").exists()
    said = capsys.readouterr().out
    assert "config.model.box.detections_per_image is 300: COCO's scores count the best 100" in said
    # Training needs an evaluation set that can be scored.
    with pytest.raises(ValueError, match='"annotations" is missing'):
        build_eval_set(config)
