"""Writes cityscapes_expected.json: what the official scripts say about imperfect predictions.

Run by hand, from the repository's root, in an environment of its own: the scripts need older
versions than this project.

    python -m venv ENV
    ENV/bin/pip install cityscapesscripts==2.3.0 "numpy<2.3" "pillow<13"
    ENV/bin/python -m tests.evaluation.make_cityscapes_expected --data CITYSCAPES_FAKE

CITYSCAPES_FAKE is a folder in Cityscapes' layout (gtFine/val/CITY/..., synthetic scenes). The other
set of scenes is drawn by `cityscapes_scenes` and written to a temporary folder in that layout.
"""

import argparse
import contextlib
import json
import math
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling as instance_script  # pyright: ignore[reportMissingImports]
import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as pixel_script  # pyright: ignore[reportMissingImports]
import numpy as np
from PIL import Image

from tests.evaluation.cityscapes_scenes import (
    CLASS_NAMES,
    Prediction,
    Scene,
    digest,
    predict_scene,
    read_scene,
    synthetic_scenes,
    truth_paths,
)

OUTPUT = Path(__file__).with_name("cityscapes_expected.json")


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the official numbers")
    parser.add_argument("--data", type=Path, required=True, help="a folder in Cityscapes' layout")
    data = parser.parse_args().data.resolve()
    expected: dict[str, Any] = {
        name: version(name) for name in ("cityscapesscripts", "numpy", "pillow")
    }
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn"
        write_scenes(drawn, synthetic_scenes())
        expected["synthetic"] = official_numbers(drawn, Path(folder) / "synthetic")
        expected["cityscapes_fake"] = official_numbers(data, Path(folder) / "cityscapes_fake")
    OUTPUT.write_text(json.dumps(expected, indent=1, allow_nan=False) + "\n")


def write_scenes(folder: Path, scenes: Sequence[Scene]) -> None:
    city = folder / "gtFine" / "val" / "drawn"
    city.mkdir(parents=True)
    for i, scene in enumerate(scenes):
        stem = f"drawn_{i:06d}_000000_gtFine"
        Image.fromarray(scene.label_ids).save(city / f"{stem}_labelIds.png")
        Image.fromarray(scene.instance_ids.astype(np.uint16)).save(city / f"{stem}_instanceIds.png")


def official_numbers(data: Path, work: Path) -> dict[str, Any]:
    """Scores of the rendered and the coarse predictions of every image in gtFine/val, by name."""
    truths = truth_paths(data)
    predictions = [predict_scene(i, read_scene(path)) for i, path in enumerate(truths)]
    numbers: dict[str, Any] = {"images": len(truths), "digest": digest(predictions)}
    for source in ("rendered", "coarse"):
        folder = work / source
        folder.mkdir(parents=True)
        numbers[source] = {
            **_pixel_numbers(truths, predictions, source, folder),
            **_instance_numbers(truths, predictions, source, folder),
        }
    return numbers


def _pixel_numbers(
    truths: Sequence[Path], predictions: Sequence[Prediction], source: str, folder: Path
) -> dict[str, Any]:
    paths = []
    for i, prediction in enumerate(predictions):
        paths.append(str(folder / f"labels_{i}.png"))
        Image.fromarray(getattr(prediction, source)).save(paths[-1])
    args = pixel_script.args
    args.quiet, args.JSONOutput = True, False
    result = pixel_script.evaluateImgLists(paths, [str(path) for path in truths], args)
    return {
        "miou": _number(result["averageScoreClasses"]),
        "iiou": _number(result["averageScoreInstClasses"]),
        "class_iou": {name: _number(result["classScores"][name]) for name in CLASS_NAMES},
        "class_iiou": {name: _number(result["classInstScores"][name]) for name in CLASS_NAMES},
    }


def _instance_numbers(
    truths: Sequence[Path], predictions: Sequence[Prediction], source: str, folder: Path
) -> dict[str, Any]:
    lists = []
    for i, prediction in enumerate(predictions):
        lines = []
        for j, detection in enumerate(prediction.detections):
            name = f"mask_{i}_{j}.png"
            Image.fromarray(getattr(detection, source).astype(np.uint8) * 255).save(folder / name)
            lines.append(f"{name} {detection.label_id} {detection.score}\n")
        lists.append(str(folder / f"image_{i}.txt"))
        Path(lists[-1]).write_text("".join(lines))
    args = instance_script.args
    args.quiet, args.JSONOutput = True, False
    # The script caches the ground truth and writes its matches to the current folder.
    args.gtInstancesFile, args.predictionPath = str(folder / "truth.json"), str(folder)
    paths = [str(path).replace("labelIds", "instanceIds") for path in truths]
    with contextlib.chdir(folder):
        averages = instance_script.evaluateImgLists(lists, paths, args)["averages"]
    classes = averages["classes"]
    return {
        "ap": _number(averages["allAp"]),
        "ap50": _number(averages["allAp50%"]),
        "class_ap": {name: _number(values["ap"]) for name, values in classes.items()},
        "class_ap50": {name: _number(values["ap50%"]) for name, values in classes.items()},
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


if __name__ == "__main__":
    main()
