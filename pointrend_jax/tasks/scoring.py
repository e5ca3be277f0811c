"""Scores of a data set: every image is predicted as for a user, by all processes, and compared."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax

from pointrend_jax.console import tell, waiting_for, watched
from pointrend_jax.data.build_crops import (
    CropDatasets,
    CropEvalSet,
    build_crop_datasets,
    build_crop_eval_set,
)
from pointrend_jax.data.build_label_maps import (
    SemanticDatasets,
    SemanticEvalSet,
    build_semantic_datasets,
    build_semantic_eval_set,
)
from pointrend_jax.data.build_objects import Datasets, EvalSet, build_datasets, build_eval_set
from pointrend_jax.data.splits import buckets
from pointrend_jax.devices.processes import from_lead, to_lead
from pointrend_jax.evaluation.results import AUGMENTED, Details, Evaluation, Results, prefixed
from pointrend_jax.report.sections import Pair
from pointrend_jax.storage import AnyPath
from pointrend_jax.structures import Config, EvalSample
from pointrend_jax.tasks.augmented_instances import augmented_instances
from pointrend_jax.tasks.augmented_labels import augmented_label_maps
from pointrend_jax.tasks.instance_scorer import InstanceScorer
from pointrend_jax.tasks.predict_batches import on_local_devices, one_ahead
from pointrend_jax.tasks.refine_scorer import RefineScorer, crop_samples
from pointrend_jax.tasks.semantic_scorer import SemanticScorer
from pointrend_jax.tasks.task import Evaluator, Prediction, Task, Variables
from pointrend_jax.tasks.views import views
from pointrend_jax.workers import in_order

# The evaluator of each `config.task`, which is made with the data sets and the config.
_SCORERS: dict[str, Callable[[Any, Config], Evaluator]] = {
    "instance": InstanceScorer,
    "semantic": SemanticScorer,
    "refine": RefineScorer,
}
# Predictions of an evaluation set from several views of each image.
_AUGMENTED: dict[str, Callable[..., Iterator[tuple[EvalSample, Any]]]] = {
    "instance": augmented_instances,
    "semantic": augmented_label_maps,
}


class Scores(NamedTuple):
    """An evaluation.

    Attributes:
      results: group to name to number; None where there was nothing to be found. Empty for a set
        without annotations, which is only predicted.
      details: what is known beside them, fit for JSON.
      table: the results for people.
      pair: draws an image that the details name, under its truth and as predicted.
      save_details: writes what comparisons need (detections, counts by image) to a directory.
    """

    results: Results
    details: Details
    table: str
    pair: Callable[[int], Pair]
    save_details: Callable[[AnyPath], None]


AnyEvalSet = EvalSet | SemanticEvalSet | CropEvalSet
AnyData = Datasets | SemanticDatasets | AnyEvalSet


def build_task_datasets(config: Config) -> Datasets | SemanticDatasets | CropDatasets:
    """The data sets of `config.data` for `config.task`; errors as `build_datasets`."""
    if config.task == "refine":
        return build_crop_datasets(config)
    if config.task == "semantic":
        return build_semantic_datasets(config)
    return build_datasets(config)


def build_task_eval_set(config: Config) -> AnyEvalSet:
    """The evaluation set alone; the training set is not touched."""
    if config.task == "refine":
        return build_crop_eval_set(config)
    if config.task == "semantic":
        return build_semantic_eval_set(config)
    return build_eval_set(config, may_lack_annotations=True)


def score(task: Task, variables: Variables, data: AnyData, config: Config) -> Scores:
    """Predicts and scores the evaluation set; says how long each took."""
    process = jax.process_index(), jax.process_count()
    evaluator, start = _SCORERS[config.task](data, config), time.monotonic()
    predict = on_local_devices(task, variables, len(buckets(config)))
    samples: Iterator[Any] = (
        crop_samples(data, *process)
        if isinstance(data, CropEvalSet)
        else data.eval_samples(*process)
    )
    predicted = one_ahead(samples, predict)
    add_results(task, predicted, evaluator, data.class_names, data.num_eval_images)
    finished = time.monotonic()
    # A refiner's evaluation set counts its objects.
    what = "objects" if isinstance(data, CropEvalSet) else "images"
    with waiting_for(f"scoring {data.num_eval_images} {what}"):
        results, details = _merged(evaluator)
    tell(
        f"evaluated {len(evaluator.image_ids)} {what}: {finished - start:.1f} s of prediction, "
        f"{time.monotonic() - finished:.1f} s of scoring"
    )
    table = evaluator.table(results)
    if results and views(config) and not isinstance(data, CropEvalSet):
        of_views = _SCORERS[config.task](data, config)
        predicted = _AUGMENTED[config.task](
            task, variables, data.eval_samples, config, process=process
        )
        add_results(task, predicted, of_views, data.class_names, data.num_eval_images)
        augmented, _ = _merged(of_views)
        # Groups of their own: single-scale figures are never mixed with these.
        results = results | prefixed(augmented, AUGMENTED)
        table += "\n\nwith test-time augmentation\n" + of_views.table(augmented)
    return Scores(results, details, table, evaluator.pair, evaluator.save_details)


def add_results(
    task: Task,
    predicted: Iterable[tuple[EvalSample, Any]],
    evaluator: Evaluator,
    class_names: tuple[str, ...],
    num_images: int,
) -> None:
    """Adds what a user would get of each image to the evaluator, by all cores; keeps no mask.

    Args:
      num_images: of all processes, to say how far this one is.
    """

    def add(image: tuple[int, Prediction]) -> None:
        evaluator.add(*image)

    images = (
        image
        for sample, delivered in predicted
        for image in zip(
            sample.image_ids, task.results(sample, delivered, class_names), strict=True
        )
    )
    share = -(-num_images // jax.process_count())
    for _ in watched(in_order(add, images), "evaluating", total=share):
        pass


def _merged(evaluator: Evaluator) -> Evaluation:
    """The evaluation of all processes' images, each predicted by one of them; in every process."""
    for parts in to_lead(evaluator.parts)[1:]:
        evaluator.merge(parts)
    return from_lead(evaluator.evaluate)
