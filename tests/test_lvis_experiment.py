"""A run on LVIS annotations, and a COCO model scored on their COCO part (AP*), on drawn images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tests.quick_parts  # noqa: F401  (adds the backbone)
from pointrend_jax.configs import tiny
from pointrend_jax.data.sources.categories import COCO, COCO_IDS, class_names
from pointrend_jax.data.sources.cocofied_lvis import COCO_SYNSETS
from pointrend_jax.evaluation.lvis import LVIS_STAT_NAMES
from pointrend_jax.experiment import evaluate_run
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.saved_variables import save_variables
from tests.tiny import tiny_variables

_SIDE = 64


def _write_set(root: Path) -> None:
    """Rectangles of COCO's first four categories, once in COCO's format and once in LVIS's.

    LVIS has the 80 categories under other ids, in the opposite order.
    """
    rng = np.random.default_rng(0)
    images, coco_objects, lvis_objects = [], [], []
    for number in range(4):
        pixels = rng.integers(0, 120, (_SIDE, _SIDE, 3), np.uint8)
        for k in (number, (number + 1) % 4):
            x, y = (int(v) for v in rng.integers(0, 30, 2))
            pixels[y : y + 25, x : x + 30, k % 3] = 230
            annotation = {
                "id": len(coco_objects) + 1,
                "image_id": number + 1,
                "bbox": [x, y, 30, 25],
                "area": 750.0,
                "iscrowd": 0,
                "segmentation": [[x, y, x + 30, y, x + 30, y + 25, x, y + 25]],
            }
            coco_objects.append(annotation | {"category_id": COCO_IDS[k]})
            lvis_objects.append(annotation | {"category_id": 80 - k})
        path = root / "val2017" / f"{number:012d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        images.append(
            {
                "id": number + 1,
                "file_name": path.name,
                "coco_url": f"http://images.cocodataset.org/val2017/{path.name}",
                "height": _SIDE,
                "width": _SIDE,
                "neg_category_ids": sorted(
                    set(range(1, 81)) - {80 - number, 80 - (number + 1) % 4}
                ),
                "not_exhaustive_category_ids": [],
            }
        )
    coco = [{"id": i, "name": name} for i, name in zip(COCO_IDS, COCO, strict=True)]
    lvis = [
        {"id": 80 - k, "name": f"{synset} of LVIS", "synset": synset, "frequency": "rcf"[k % 3]}
        for k, synset in enumerate(COCO_SYNSETS)
    ]
    for name, annotations, categories in (
        ("coco", coco_objects, coco),
        ("lvis", lvis_objects, lvis),
    ):
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{name}.json").write_text(json.dumps(content))


def _config(root: Path, source: str) -> Config:
    config = tiny.get_config()
    config.num_classes = 80
    config.model.backbone, config.model.freeze_at = "patches", 2
    data = config.data
    data.source, data.dir, data.cache_dir = source, str(root / "set"), str(root / "cache")
    data.train_images = data.eval_images = "val2017"
    data.train_annotations = "coco.json" if source == "coco" else "lvis.json"
    data.eval_annotations = data.train_annotations
    # Everything, as chance among 80 classes is below the threshold of other tests.
    config.model.box.score_threshold = 0.0
    return config


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn set, and in `work` the weights of a model of 80 classes that is scored on it."""
    root = tmp_path_factory.mktemp("lvis")
    _write_set(root / "set")
    config = _config(root, "coco")
    meta = CheckpointMeta(config.to_dict(), class_names("", 80))
    save_variables(root / "work", tiny_variables(build_task(config)), meta)
    return root


def _names(results: dict[str, Any]) -> set[str]:
    return {name.removeprefix("mask_") for name in results if name.startswith("mask_")}


def test_a_model_of_lvis_is_scored_by_its_rules(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_run(root / "work", _config(root, "lvis"), output=root / "lvis")
    results = json.loads((root / "lvis" / "results.json").read_text())
    assert _names(results["rendered"]) == set(LVIS_STAT_NAMES)
    # Two rectangles are of rare categories, one of a common and one of a frequent one.
    for name in ("mask_ap", "mask_ap_rare", "boundary_ap_common", "mask_ap_frequent"):
        assert results["rendered"][name] is not None
        assert results["coarse"][name] is not None
    assert "mask APr" in capsys.readouterr().out


def test_a_model_of_coco_is_scored_on_the_coco_part_of_lvis(root: Path) -> None:
    plain = evaluate_run(root / "work", output=root / "coco")
    results = evaluate_run(root / "work", _config(root, "cocofied_lvis"), output=root / "part")
    assert _names(plain["rendered"]) != _names(results["rendered"]) == set(LVIS_STAT_NAMES)
    # The drawn masks are the same in both, and every category is known on every image.
    for kind in ("ap", "ap50", "ap75", "ap_small"):
        ours, coco = results["rendered"][f"mask_{kind}"], plain["rendered"][f"mask_{kind}"]
        assert ours == pytest.approx(coco, abs=1e-12)
    # Every class has the same category id in both.
    of_coco, of_part = (
        (root / name / "detections_rendered.json").read_text() for name in ("coco", "part")
    )
    assert json.loads(of_coco)
    assert of_part == of_coco
