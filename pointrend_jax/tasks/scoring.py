"""Data sets and scores of either kind of task, on the devices of all processes."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from pointrend_jax.console import tell
from pointrend_jax.data.build import Datasets, EvalSet, build_datasets, build_eval_set
from pointrend_jax.data.build_semantic import (
    SemanticDatasets,
    SemanticEvalSet,
    build_semantic_datasets,
    build_semantic_eval_set,
)
from pointrend_jax.devices.placement import replicated, shard
from pointrend_jax.devices.processes import from_lead, to_lead
from pointrend_jax.evaluation.cityscapes_instances import CityscapesInstanceEvaluator
from pointrend_jax.evaluation.coco import (
    MAX_DETECTIONS,
    InstanceEvaluator,
    Results,
    coco_scores,
)
from pointrend_jax.evaluation.lvis import MAX_DETECTIONS as LVIS_MAX_DETECTIONS
from pointrend_jax.evaluation.lvis import is_federated, lvis_evaluator
from pointrend_jax.evaluation.predictions import write_results_list
from pointrend_jax.evaluation.report import (
    format_cityscapes_results,
    format_lvis_results,
    format_results,
    format_semantic_results,
)
from pointrend_jax.evaluation.semantic import CITYSCAPES_OBJECT_SIZES, SemanticEvaluator
from pointrend_jax.storage import AnyPath
from pointrend_jax.structures import Config, EvalSample, ImageBatch, InstancePredictions
from pointrend_jax.tasks.instance import evaluate_instances
from pointrend_jax.tasks.semantic import (
    LabelMaps,
    class_probabilities,
    evaluate_semantic,
    label_maps,
    original_sizes,
    upsampled_coarse_logits,
)
from pointrend_jax.tasks.task import Task, Variables, kept


class Scores(NamedTuple):
    """An evaluation.

    Attributes:
      results: group to name to number; None where there was nothing to be found. Empty for a set
        without annotations, which is only predicted.
      table: the same for people.
      save_details: writes what comparisons need (detections, counts by image) to a directory.
    """

    results: Results
    table: str
    save_details: Callable[[AnyPath], None]


def build_task_datasets(config: Config) -> Datasets | SemanticDatasets:
    """The data sets of `config.data` for `config.task`; errors as `build_datasets`."""
    return build_semantic_datasets(config) if _is_semantic(config) else build_datasets(config)


def build_task_eval_set(config: Config) -> EvalSet | SemanticEvalSet:
    """The evaluation set alone; the training set is not touched."""
    if _is_semantic(config):
        return build_semantic_eval_set(config)
    return build_eval_set(config, may_lack_annotations=True)


def score(
    task: Task,
    variables: Variables,
    datasets: Datasets | EvalSet | SemanticDatasets | SemanticEvalSet,
    config: Config,
) -> Scores:
    """Predicts and scores the evaluation set; says how long each took."""
    if isinstance(datasets, Datasets | EvalSet):
        return _score_instances(task, variables, datasets, config)
    return _score_semantic(task, variables, datasets, config)


def _is_semantic(config: Config) -> bool:
    return config.task == "semantic"


def _score_instances(
    task: Task, variables: Variables, datasets: Datasets | EvalSet, config: Config
) -> Scores:
    truth, dilation = datasets.eval_ground_truth, config.eval.boundary_dilation
    federated = is_federated(truth)
    most = config.model.box.detections_per_image
    if federated:
        evaluator = lvis_evaluator(truth, boundary_dilation=dilation)
    else:
        rules = partial(coco_scores, max_detections=most)
        evaluator = InstanceEvaluator(truth, boundary_dilation=dilation, rules=rules)
    _tell_limit(most, federated=federated)
    cityscapes = CityscapesInstanceEvaluator()
    instance_ids = datasets.eval_instance_ids

    def add(
        image_id: int, boxes: Any, scores: Any, categories: Any, rendered: Any, coarse: Any
    ) -> None:
        evaluator.add(image_id, boxes, scores, categories, rendered, coarse)
        if instance_ids is not None:
            # The category ids are Cityscapes' label ids.
            truth = instance_ids(image_id)
            cityscapes.add(image_id, categories, scores, rendered, coarse, truth)

    start = time.monotonic()
    predict = parallel_predict(task, variables)
    samples = datasets.eval_samples(jax.process_index(), jax.process_count())
    evaluate_instances(predict, samples, add, datasets.category_ids)
    predicted = time.monotonic()
    _merge(evaluator)
    results, table = _instance_results(evaluator, federated=federated)
    if instance_ids is not None:
        _merge(cityscapes)
        official = from_lead(cityscapes.results)
        # Groups of their own: AP by other rules.
        results = results | {f"cityscapes_{group}": values for group, values in official.items()}
        table += "\n\n" + format_cityscapes_results(official)
    _tell(len(evaluator.image_ids), start, predicted)

    def save_details(folder: AnyPath) -> None:
        for source in ("rendered", "coarse"):
            found = evaluator.coco_results(source)
            write_results_list(folder / f"detections_{source}.json", found)

    return Scores(results, table, save_details)


def _instance_results(evaluator: InstanceEvaluator, *, federated: bool) -> tuple[Results, str]:
    """The scores and their table; without annotations no scores, and words instead."""
    if not evaluator.ground_truth.anns:
        return {}, (
            "nothing is scored: the evaluation set has no annotations. Its detections are written "
            "with its own image and category ids."
        )
    results = from_lead(evaluator.results)
    return results, format_lvis_results(results) if federated else format_results(results)


def _tell_limit(most: int, *, federated: bool) -> None:
    """Says so if the model may find more on an image than its scores count."""
    if federated and most > LVIS_MAX_DETECTIONS:
        counted = f"LVIS's scores count the best {LVIS_MAX_DETECTIONS} of an image"
    elif not federated and most > MAX_DETECTIONS:
        counted = (
            f"COCO's scores count the best {MAX_DETECTIONS} of a class; AP with all of them is "
            f"given as mask AP@{most}, beside them"
        )
    else:
        return
    tell(f"config.model.box.detections_per_image is {most}: {counted}")


def _score_semantic(
    task: Task,
    variables: Variables,
    datasets: SemanticDatasets | SemanticEvalSet,
    config: Config,
) -> Scores:
    start = time.monotonic()
    predict = _parallel_labels(task, replicated(variables))
    evaluator = _semantic_evaluator(datasets, config)
    samples = datasets.eval_samples(jax.process_index(), jax.process_count())
    predicted = ((sample, predict(sample)) for sample in samples)
    evaluate_semantic(predicted, evaluator, datasets.eval_truth)
    finished = time.monotonic()
    _merge(evaluator)
    results = from_lead(evaluator.results)
    _tell(len(evaluator.image_ids), start, finished)
    table = format_semantic_results(results)
    scales = tuple(float(scale) for scale in config.eval.tta_scales)
    if scales or config.eval.tta_flip:
        augmented = _score_augmented(task, variables, datasets, config, scales or (1.0,))
        # Groups of their own: single-scale figures are never mixed with these.
        results = results | {f"test_time_augmentation_{k}": v for k, v in augmented.items()}
        table += "\n\nwith test-time augmentation\n" + format_semantic_results(augmented)

    def save_details(folder: AnyPath) -> None:
        evaluator.save_counts(folder / "counts.npz")

    return Scores(results, table, save_details)


def _semantic_evaluator(
    datasets: SemanticDatasets | SemanticEvalSet, config: Config
) -> SemanticEvaluator:
    names = [datasets.class_names[label] for label in datasets.instance_classes]
    return SemanticEvaluator(
        datasets.class_names,
        average_instance_sizes={name: CITYSCAPES_OBJECT_SIZES[name] for name in names},
        boundary_dilation=config.eval.boundary_dilation,
        trimap_widths=tuple(config.eval.trimap_widths),
    )


def _score_augmented(
    task: Task,
    variables: Variables,
    datasets: SemanticDatasets | SemanticEvalSet,
    config: Config,
    scales: tuple[float, ...],
) -> Results:
    """Labels of the mean probability over scales (and mirrored images), rendered and coarse."""
    flips = (False, True) if config.eval.tta_flip else (False,)
    views = [(scale, flip) for scale in scales for flip in flips]
    evaluator = _semantic_evaluator(datasets, config)
    variables, probabilities = replicated(variables), _probabilities_program(task)

    def best(samples: tuple[EvalSample, ...]) -> LabelMaps:
        total: Any = None
        for sample, (_, flip) in zip(samples, views, strict=True):
            sizes, canvas = original_sizes(sample)
            num_devices = jax.local_device_count()
            batch, sizes = shard((sample.batch, sizes), num_devices)
            of_view = probabilities(variables, batch, sizes, canvas, flip)
            total = of_view if total is None else jax.tree.map(jnp.add, total, of_view)
        labels = jax.tree.map(lambda x: jnp.argmax(x, axis=-1).astype(jnp.uint8), total)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), labels)

    here = jax.process_index(), jax.process_count()
    streams = [datasets.eval_samples(*here, scale, flip) for scale, flip in views]
    predicted = ((samples[0], best(samples)) for samples in zip(*streams, strict=True))
    evaluate_semantic(predicted, evaluator, datasets.eval_truth)
    _merge(evaluator)
    return from_lead(evaluator.results)


@runtime_checkable
class _Evaluator(Protocol):
    """What was added to it so far goes to its like in another process."""

    @property
    def parts(self) -> Any: ...

    def merge(self, parts: Any) -> None: ...


def _merge(evaluator: _Evaluator) -> None:
    """The images of all processes, each predicted by one of them, in the lead's evaluator."""
    for parts in to_lead(evaluator.parts)[1:]:
        evaluator.merge(parts)


def _tell(num_images: int, start: float, predicted: float) -> None:
    tell(
        f"evaluated {num_images} images: {predicted - start:.1f} s of prediction, "
        f"{time.monotonic() - predicted:.1f} s of scoring"
    )


def _on_local_devices(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.pmap` without the other processes: predictions have nothing to do with each other."""
    return jax.pmap(function, devices=jax.local_devices(), **options)


@kept
def _predict_program(task: Task) -> Callable[..., InstancePredictions]:
    return _on_local_devices(task.predict, in_axes=(None, 0))


def parallel_predict(
    task: Task, variables: Variables
) -> Callable[[ImageBatch], InstancePredictions]:
    """Prediction on all local devices, an equal part of the batch on each."""
    num_devices, predict_part = jax.local_device_count(), _predict_program(task)
    variables = replicated(variables)

    def predict(batch: ImageBatch) -> InstancePredictions:
        predictions = predict_part(variables, shard(batch, num_devices))
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), predictions)

    return predict


@kept
def _labels_program(task: Task) -> Callable[..., LabelMaps]:
    @partial(_on_local_devices, in_axes=(None, 0, 0), static_broadcasted_argnums=3)
    def labels(
        variables: Variables, batch: ImageBatch, sizes: Any, canvas: tuple[int, int]
    ) -> LabelMaps:
        return label_maps(task.predict(variables, batch), batch, sizes, canvas)

    return labels


@kept
def _probabilities_program(task: Task) -> Callable[..., LabelMaps]:
    @partial(_on_local_devices, in_axes=(None, 0, 0), static_broadcasted_argnums=(3, 4))
    def probabilities(
        variables: Variables, batch: ImageBatch, sizes: Any, canvas: tuple[int, int], flip: bool
    ) -> LabelMaps:
        predictions = task.predict(variables, batch)
        maps = LabelMaps(predictions.logits, upsampled_coarse_logits(predictions, batch))
        return jax.tree.map(
            lambda x: class_probabilities(x, batch, sizes, canvas, flipped=flip), maps
        )

    return probabilities


def _parallel_labels(task: Task, variables: Variables) -> Callable[[EvalSample], LabelMaps]:
    """Labels at original size on all local devices: logits never leave them."""
    predict_part = _labels_program(task)

    def predict(sample: EvalSample) -> LabelMaps:
        sizes, canvas = original_sizes(sample)
        batch, sizes = shard((sample.batch, sizes), jax.local_device_count())
        labels = predict_part(variables, batch, sizes, canvas)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), labels)

    return predict
