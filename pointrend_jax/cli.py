"""python -m pointrend_jax: predict on image files, convert weights, and the demonstration."""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pointrend_jax.convert import CARD, convert
from pointrend_jax.data.images import read_image
from pointrend_jax.demo import run_demo
from pointrend_jax.evaluation.report import write_json
from pointrend_jax.evaluation.rle import Rle
from pointrend_jax.flags import load_config
from pointrend_jax.instances import PredictedInstances
from pointrend_jax.loading import load
from pointrend_jax.predictor import Predictor
from pointrend_jax.training.loop import check_workdir
from pointrend_jax.visualize import explain_picture, overlay_instances
from pointrend_jax.weights import describe_weights


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and runs its command. Raises ValueError for a user's mistake."""
    args = _parser().parse_args(arguments)
    if args.command == "demo":
        run_demo(load_config(args.config), args.workdir)
    elif args.command == "convert":
        weights = convert(args.weights, load_config(args.config), args.output)
        print(describe_weights(weights))
        print(f"checkpoint and {CARD}: {args.output}")
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
      checkpoint: directory of a training run, or of `convert`.
      num_explained: instances an image, best first, whose rendering is shown; 0 for none.
    Raises: ValueError, before the model is loaded, if an image cannot be read or names clash.
    """
    names = _output_names(paths)
    check_workdir(output)
    # All are decoded once before anything slow happens; only two are kept in memory at a time.
    problems = [problem for path in paths if (problem := _problem(path))]
    if problems:
        raise ValueError("no image was predicted:\n  " + "\n  ".join(problems))
    predictor = load(checkpoint)
    pictures, copies = itertools.tee(read_image(path) for path in paths)
    predicted = predictor.stream(copies, score_threshold=score_threshold)
    records, images = [], []
    rows = zip(tqdm(paths, disable=None), names, pictures, predicted, strict=True)
    for image_id, (path, name, image, instances) in enumerate(rows, 1):
        masks = instances.masks.rle()
        _save(output / f"{name}.png", _overlay(image, instances, masks))
        height, width = image.shape[:2]
        images.append({"id": image_id, "file_name": path.name, "height": height, "width": width})
        records += _records(image_id, instances, masks)
        print(f"{path}: {len(instances)} instances", flush=True)
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
    predict.add_argument(
        "--checkpoint", type=Path, required=True, help="folder of a run, or of convert"
    )
    predict.add_argument("--image", type=Path, nargs="+", required=True, help="image files")
    predict.add_argument("--output", type=Path, required=True, help="folder for the results")
    predict.add_argument(
        "--score-threshold", type=float, default=0.5, help="lower scores are left out"
    )
    predict.add_argument(
        "--explain", type=int, nargs="?", const=3, default=0, metavar="N",
        help="also show how the masks of the N best instances (3) are rendered",
    )  # fmt: skip
    converted = commands.add_parser("convert", help="make a checkpoint of a Detectron2 file")
    converted.add_argument(
        "--weights", required=True, help="a file, detectron2://..., or the name of a published one"
    )
    converted.add_argument("--config", type=Path, required=True, help="config of its model")
    converted.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
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


def _overlay(image: np.ndarray, instances: PredictedInstances, masks: Sequence[Rle]) -> np.ndarray:
    return overlay_instances(image, instances.boxes, masks, instances.class_names, instances.scores)


def _records(image_id: int, instances: PredictedInstances, masks: Sequence[Rle]) -> list[dict]:
    """COCO annotations with RLE masks; a category is a class index, as instances.json says."""
    rows = zip(instances.boxes, instances.scores, instances.classes, masks, strict=True)
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
    best = instances[:number]
    if not len(best):
        return
    explained = predictor.explain(image, best.boxes, best.classes)
    for i, (instance, how) in enumerate(zip(best, explained, strict=True), 1):
        label = f"{instance.class_names[0]} {instance.scores[0]:.2f}"
        picture = explain_picture(image, instance.boxes[0], how.coarse_probs, how.steps, label)
        _save(stem.with_name(f"{stem.name}_explain_{i}.png"), picture)


def _save(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(path)
