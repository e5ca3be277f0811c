"""python -m pointrend_jax: predict on image files, and the demonstration."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pointrend_jax.data.images import read_image
from pointrend_jax.demo import run_demo
from pointrend_jax.evaluation.report import write_json
from pointrend_jax.flags import load_config
from pointrend_jax.predictor import PredictedInstances, Predictor, load
from pointrend_jax.training.loop import check_workdir
from pointrend_jax.visualize import explain_picture, overlay_instances


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and runs its command. Raises ValueError for a user's mistake."""
    args = _parser().parse_args(arguments)
    if args.command == "demo":
        run_demo(load_config(args.config), args.workdir)
    else:
        predict_files(
            args.checkpoint,
            args.image,
            args.output,
            score_threshold=args.score_threshold,
            num_explained=args.explain,
        )


def predict_files(
    checkpoint: Path,
    paths: Sequence[Path],
    output: Path,
    *,
    score_threshold: float,
    num_explained: int,
) -> None:
    """Writes an overlay for each image, instances.json for all, and pictures of how masks arise.

    Args:
      checkpoint: work directory of a training run.
      num_explained: instances an image, best first, whose rendering is shown; 0 for none.
    Raises: ValueError, before the model is loaded, if an image cannot be read or names clash.
    """
    names = _output_names(paths)
    check_workdir(output)
    # All are decoded once before anything slow happens; only one is kept in memory at a time.
    problems = [problem for path in paths if (problem := _problem(path))]
    if problems:
        raise ValueError("no image was predicted:\n  " + "\n  ".join(problems))
    predictor = load(checkpoint)
    records, images = [], []
    for image_id, (path, name) in enumerate(zip(tqdm(paths, disable=None), names, strict=True), 1):
        image = read_image(path)
        instances = predictor.predict([image], score_threshold=score_threshold)[0]
        _save(output / f"{name}.png", _overlay(image, instances, predictor))
        height, width = image.shape[:2]
        images.append({"id": image_id, "file_name": path.name, "height": height, "width": width})
        records += _records(image_id, instances)
        print(f"{path}: {len(instances.scores)} instances", flush=True)
        _explain(predictor, image, instances, num_explained, output / name)
    categories = [{"id": i, "name": name} for i, name in enumerate(predictor.class_names)]
    write_json(
        output / "instances.json",
        {"images": images, "annotations": records, "categories": categories},
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pointrend_jax", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    predict = commands.add_parser("predict", help="find the instances of image files")
    predict.add_argument("--checkpoint", type=Path, required=True, help="workdir of a training run")
    predict.add_argument("--image", type=Path, nargs="+", required=True, help="image files")
    predict.add_argument("--output", type=Path, required=True, help="folder for the results")
    predict.add_argument(
        "--score-threshold", type=float, default=0.5, help="lower scores are left out"
    )
    predict.add_argument(
        "--explain", type=int, nargs="?", const=3, default=0, metavar="N",
        help="also show how the masks of the N best instances (3) are rendered",
    )  # fmt: skip
    demo = commands.add_parser("demo", help="train, evaluate and show a small model")
    demo.add_argument("--config", type=Path, default=Path("configs/demo.py"))
    demo.add_argument("--workdir", type=Path, default=Path("runs/demo"))
    return parser


def _output_names(paths: Sequence[Path]) -> list[str]:
    """One name an image; the stem, unless two images share it."""
    stems = [path.stem for path in paths]
    names = [p.name if stems.count(p.stem) > 1 else p.stem for p in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"several images are called {', '.join(twice)} and their results would overwrite each "
            "other; predict them with different --output folders."
        )
    return names


def _problem(path: Path) -> str:
    try:
        read_image(path)
    except ValueError as error:
        return str(error)
    return ""


def _overlay(image: np.ndarray, instances: PredictedInstances, predictor: Predictor) -> np.ndarray:
    labels = [predictor.class_names[label] for label in instances.classes]
    return overlay_instances(image, instances.boxes, instances.masks, labels, instances.scores)


def _records(image_id: int, instances: PredictedInstances) -> list[dict]:
    """COCO annotations with RLE masks; a category is a class index, as instances.json says."""
    rows = zip(instances.boxes, instances.scores, instances.classes, instances.masks, strict=True)
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "score": float(score),
            "bbox": [float(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "segmentation": rle,
        }
        for box, score, label, rle in rows
    ]


def _explain(
    predictor: Predictor, image: np.ndarray, instances: PredictedInstances, number: int, stem: Path
) -> None:
    number = min(number, len(instances.scores))
    if not number:
        return
    boxes, classes = instances.boxes[:number], instances.classes[:number]
    explained = predictor.explain(image, boxes, classes)
    for i, (instance, box) in enumerate(zip(explained, boxes, strict=True), 1):
        label = f"{predictor.class_names[classes[i - 1]]} {instances.scores[i - 1]:.2f}"
        picture = explain_picture(image, box, instance.coarse_probs, instance.steps, label)
        _save(stem.with_name(f"{stem.name}_explain_{i}.png"), picture)


def _save(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(path)
