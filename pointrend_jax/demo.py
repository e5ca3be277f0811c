"""The demonstration: draw a data set, train on it, score it, show it; numbers and pictures stay."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pointrend_jax.config_rules import check_config
from pointrend_jax.console import own_command, tell
from pointrend_jax.data.build_objects import EvalSet, build_eval_set
from pointrend_jax.devices.compilation_cache import use_compilation_cache
from pointrend_jax.evaluation.ground_truth import load_ground_truth, true_mask
from pointrend_jax.experiment import check_devices, flat_results, save_results, train
from pointrend_jax.masks.runs import Rle
from pointrend_jax.predict.explainable import check_explains
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.storage import check_workdir
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.predict_batches import on_local_devices
from pointrend_jax.tasks.scoring import score
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.metrics import read_metrics
from pointrend_jax.training.saved_variables import load_variables
from pointrend_jax.visualize import (
    OverlayStyle,
    comparison_strip,
    enlarging,
    explain_picture,
    overlay_masks,
    save_picture,
)

_NUM_PICTURES = 4
_SCORE_THRESHOLD = 0.5
# px, longer side of the overlays: the demo's own images are too small for names beside objects.
_PICTURE_SIDE = 640


def run_demo(config: Config, workdir: Path) -> None:
    """Trains `config` in `workdir` (or goes on), then writes results, report and pictures there.

    results.json: {"rendered": {...}, "coarse": {...}, "box": {...}, "seconds": {...}}, AP in 0..1.
    """
    check_config(config, to_train=True)
    # Its pictures show how masks are rendered.
    check_explains(config)
    check_workdir(workdir)
    check_devices(config)
    use_compilation_cache(workdir / "compiled")
    config = config.copy_and_resolve_references().unlock()
    if not config.data.cache_dir:
        config.data.cache_dir = str(workdir / "data")
    config.lock()
    seconds: dict[str, float] = {}
    with _stage(seconds, "drawing", "objects onto photos: the training and the evaluation set"):
        data = build_eval_set(config)
    steps = f"{config.train.steps} steps of {config.train.batch_size} images"
    with _stage(seconds, "training", f"{steps}; the first waits for the compiler"):
        train(config, workdir, evaluate_at_end=False)
    with _stage(seconds, "evaluation", "coarse and rendered masks against what was drawn"):
        variables, meta, step = load_variables(workdir)
        task = build_task(config)
        scores = score(task, variables, data, config)
    with _stage(seconds, "pictures", f"the first {_NUM_PICTURES} evaluation images"):
        found = itertools.islice(_found(task, variables, data), _NUM_PICTURES)
        predictor = Predictor(variables, config, meta.class_names, meta.category_ids)
        write_pictures(predictor, list(found), workdir)
    seconds["total"] = round(sum(seconds.values()), 1)
    about = {"device": jax.devices()[0].device_kind, "seconds": seconds}
    metrics = [*read_metrics(workdir), {"step": step} | flat_results(scores.results)]
    save_results(workdir, scores, step, name=workdir.name, metrics=metrics, about=about)
    tell("seconds: " + ", ".join(f"{name} {value}" for name, value in seconds.items()))
    tell(_what_next(workdir))


def write_pictures(
    predictor: Predictor,
    found: list[tuple[np.ndarray, PredictedInstances, Rle | None]],
    workdir: Path,
) -> None:
    """Images, overlays, how one mask of each is rendered, and coarse beside rendered masks.

    Args:
      found: uint8 RGB images [H, W, 3], each with its instances and the true mask of the best.
    """
    images, coarse, rendered = [], [], []
    for i, (image, instances, truth) in enumerate(found, 1):
        images.append(image)
        coarse.append(instances.coarse_masks.rle())
        rendered.append(instances.masks.rle())
        labels = instances.class_names
        style = OverlayStyle(scale=enlarging(image, _PICTURE_SIDE))
        overlay = overlay_masks(
            image, instances.boxes, rendered[-1], labels, instances.scores, style=style
        )
        save_picture(workdir / f"image_{i}.png", image)
        save_picture(workdir / f"prediction_{i}.png", overlay)
        if len(labels):
            explained = predictor.explain(image, instances.boxes[:1], instances.classes[:1])[0]
            picture = explain_picture(
                image, instances.boxes[0], explained.coarse_probs, explained.steps, labels[0],
                truth=truth,
            )  # fmt: skip
            save_picture(workdir / f"explain_{i}.png", picture)
    save_picture(workdir / "coarse_and_rendered.png", comparison_strip(images, coarse, rendered))


def _found(
    task: Task, variables: Variables, data: EvalSet
) -> Iterator[tuple[np.ndarray, PredictedInstances, Rle | None]]:
    """The images, their sure instances and the best one's truth, by the evaluation's programs."""
    predict = on_local_devices(task, variables, 1)
    truth = load_ground_truth(data.eval_ground_truth)
    for sample in data.eval_samples():
        images = (
            sample.batch.images[slot, :height, :width]
            for slot, (height, width) in enumerate(sample.batch.image_hw)
            if sample.batch.valid[slot]
        )
        results: Any = task.results(sample, predict(sample), data.class_names)
        for image, image_id, found in zip(images, sample.image_ids, results, strict=True):
            sure = found[found.scores >= _SCORE_THRESHOLD]
            best = sure[:1].to_coco(category_ids=data.category_ids)
            yield image, sure, next((true_mask(truth, image_id, record) for record in best), None)


@contextmanager
def _stage(seconds: dict[str, float], name: str, text: str) -> Iterator[None]:
    """Says what begins, and keeps how long it took."""
    tell(f"demo, {name}: {text}")
    start = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - start, 1)


def _what_next(workdir: Path) -> str:
    """What lies where, and a command that goes on from it."""
    command = own_command(
        "predict", workdir / "image_1.png", "--checkpoint", workdir,
        "--output", workdir / "predicted", "--explain",
    )  # fmt: skip
    return (
        f"{workdir} has coarse_and_rendered.png (look at it first), prediction_*.png, "
        "explain_*.png, report.html (open it in a browser), results.json and the trained model. "
        "Next, on this or any image:\n"
        f"  {command}"
    )
