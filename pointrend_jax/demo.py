"""The demonstration: draw a data set, train on it, score it, show it; numbers and pictures stay."""

import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from pointrend_jax.config_rules import check_config
from pointrend_jax.data.build_objects import EvalSet, build_eval_set
from pointrend_jax.devices.compilation_cache import use_compilation_cache
from pointrend_jax.experiment import check_devices, train
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.load import load
from pointrend_jax.storage import check_workdir, write_json
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.scoring import score
from pointrend_jax.training.saved_variables import load_variables
from pointrend_jax.visualize import comparison_strip, explain_picture, overlay_instances

_NUM_PICTURES = 4


def run_demo(config: Config, workdir: Path) -> None:
    """Trains `config` in `workdir` (or goes on), then writes results.json and pictures beside it.

    results.json: {"rendered": {...}, "coarse": {...}, "box": {...}, "seconds": {...}}, AP in 0..1.
    """
    check_config(config, to_train=True)
    check_workdir(workdir)
    check_devices(config)
    use_compilation_cache(workdir / "compiled")
    seconds = {}
    start = time.monotonic()
    config = config.copy_and_resolve_references().unlock()
    if not config.data.cache_dir:
        config.data.cache_dir = str(workdir / "data")
    config.lock()
    data = build_eval_set(config)
    seconds["drawing"] = time.monotonic() - start

    start = time.monotonic()
    train(config, workdir, evaluate_at_end=False)
    seconds["training"] = time.monotonic() - start

    start = time.monotonic()
    variables, _, step = load_variables(workdir)
    scores = score(build_task(config), variables, data, config)
    seconds["evaluation"] = time.monotonic() - start

    start = time.monotonic()
    predictor = load(workdir)
    assert isinstance(predictor, Predictor), "the demonstration finds instances"
    write_pictures(predictor, _first_images(data), workdir)
    seconds["pictures"] = time.monotonic() - start
    seconds = {name: round(value, 1) for name, value in seconds.items()}
    seconds["total"] = round(sum(seconds.values()), 1)
    device = jax.devices()[0].device_kind
    write_json(
        workdir / "results.json",
        {"step": step, "device": device, "seconds": seconds} | scores.results,
    )
    print(scores.table)
    print("seconds: " + ", ".join(f"{name} {value}" for name, value in seconds.items()))
    print(f"results.json and pictures are in {workdir}", flush=True)


def write_pictures(predictor: Predictor, images: list[np.ndarray], workdir: Path) -> None:
    """Overlays, coarse beside rendered masks, and how one mask of each image is rendered."""
    coarse, rendered = [], []
    for i, image in enumerate(images, 1):
        instances = predictor.predict(image, score_threshold=0.5)
        coarse.append(instances.coarse_masks.rle())
        rendered.append(instances.masks.rle())
        labels = instances.class_names
        overlay = overlay_instances(image, instances.boxes, rendered[-1], labels, instances.scores)
        _save(workdir / f"prediction_{i}.png", overlay)
        if len(labels):
            explained = predictor.explain(image, instances.boxes[:1], instances.classes[:1])[0]
            picture = explain_picture(
                image, instances.boxes[0], explained.coarse_probs, explained.steps, labels[0]
            )
            _save(workdir / f"explain_{i}.png", picture)
    _save(workdir / "coarse_and_rendered.png", comparison_strip(images, coarse, rendered))


def _first_images(data: EvalSet) -> list[np.ndarray]:
    images: list[np.ndarray] = []
    for sample in data.eval_samples():
        for slot in np.flatnonzero(sample.batch.valid):
            height, width = sample.batch.image_hw[slot]
            images.append(sample.batch.images[slot, :height, :width])
            if len(images) == _NUM_PICTURES:
                return images
    return images


def _save(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(path)
