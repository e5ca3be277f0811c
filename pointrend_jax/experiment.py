"""From a configuration to a trained and scored model: what train.py, eval.py and the demo run."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from pointrend_jax.config import with_newer_fields
from pointrend_jax.config_rules import check_config
from pointrend_jax.console import tell, waiting_for
from pointrend_jax.data.batches.transforms import training_canvases
from pointrend_jax.data.build_crops import CropDatasets
from pointrend_jax.data.build_label_maps import SemanticDatasets
from pointrend_jax.data.sources.categories import are_made_up
from pointrend_jax.devices.compilation_cache import use_compilation_cache
from pointrend_jax.devices.processes import is_lead
from pointrend_jax.evaluation.results import Results
from pointrend_jax.messages import first
from pointrend_jax.report.page import report_page
from pointrend_jax.storage import AnyPath, check_workdir, readable, write_json, write_whole
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.score_names import best_metric, check_has_metric, named_scores
from pointrend_jax.tasks.scoring import Scores, build_task_datasets, build_task_eval_set, score
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.checkpoints import CheckpointMeta, Retention, package_versions
from pointrend_jax.training.loop import LoopSettings, run_training
from pointrend_jax.training.memory import check_step_memory
from pointrend_jax.training.metrics import read_metrics
from pointrend_jax.training.optimizer import build_optimizer, build_schedule, scaled_to_batch
from pointrend_jax.training.own_parts import check_own_parts
from pointrend_jax.training.replicas import check_strategy
from pointrend_jax.training.saved_variables import load_variables, newest_step
from pointrend_jax.training.step import StepOptions
from pointrend_jax.training.trees import check_finite, check_same_tree
from pointrend_jax.training.workdir import only_run_in
from pointrend_jax.unreachable_settings import unreachable_settings
from pointrend_jax.weights import check_starting_weights, starting_variables
from pointrend_jax.weights_report import describe_weights, report_record


def train(
    config: Config, workdir: AnyPath, *, accept_changes: bool = False, evaluate_at_end: bool = True
) -> Variables:
    """Trains `config` in `workdir`, evaluating as it says; resumes if the run has begun already.

    Args:
      accept_changes: resume although settings differ that decide the numbers.
      evaluate_at_end: whether the last step is scored too; False if the caller does.
    Raises: ValueError, before any long work, for a wrong config, data set or directory, or if
      another run has the directory; TrainingStopped if the run was told to stop.
    """
    check_config(config, to_train=True)
    config = scaled_to_batch(config)
    check_strategy(config.train.strategy)
    check_devices(config)
    build_schedule(config)
    best_metric(config)
    check_step_memory(config)
    check_own_parts(config)
    for text in unreachable_settings(config):
        tell(text)
    check_workdir(workdir)
    if newest_step(workdir) is None:
        check_starting_weights(config)
    with only_run_in(workdir):
        return _train(config, workdir, accept_changes, evaluate_at_end)


def _train(
    config: Config, workdir: AnyPath, accept_changes: bool, evaluate_at_end: bool
) -> Variables:
    use_compilation_cache(workdir / "compiled")
    task = build_task(config)
    # Its settings are looked at before the data are read, which may take long.
    optimizer, schedule = build_optimizer(config, task.shapes()["params"], task.is_trainable)
    datasets = build_task_datasets(config)
    evaluation = datasets.evaluation if isinstance(datasets, CropDatasets) else datasets
    variables = _variables_to_start(config, task, workdir)

    def evaluate(variables: Variables, step: int) -> dict[str, float]:
        scores = score(task, variables, evaluation, config)
        values = flat_results(scores.results)
        # What is returned becomes a record only after this.
        metrics = [*read_metrics(workdir), {"step": step} | values]
        save_results(workdir, scores, step, name=workdir.name, metrics=metrics)
        check_has_metric(config, scores.results)
        return values

    settings = config.train
    return run_training(
        task=task,
        optimizer=optimizer,
        schedule=schedule,
        variables=variables,
        batches=partial(datasets.train_batches, jax.process_index(), jax.process_count()),
        evaluate=evaluate,
        settings=LoopSettings(
            steps=settings.steps,
            batch_size=settings.batch_size,
            log_every=settings.log_every,
            eval_every=settings.eval_every,
            checkpoint_every=settings.checkpoint_every,
            retention=Retention(settings.keep_checkpoints, settings.keep_every),
            seed=config.seed,
            num_canvases=_num_canvases(config),
            best_metric=best_metric(config),
            watchdog_minutes=settings.watchdog_minutes,
            strategy=settings.strategy,
            options=StepOptions(
                settings.accumulate_steps, settings.average_decay, settings.deterministic
            ),
            accept_changes=accept_changes,
            evaluate_at_end=evaluate_at_end,
        ),
        meta=CheckpointMeta(
            config.to_dict(),
            datasets.class_names,
            datasets.num_train_images,
            package_versions(),
            datasets.train_digest,
            # Label maps have class indices only.
            () if isinstance(datasets, SemanticDatasets) else datasets.category_ids,
        ),
        workdir=workdir,
    )


def _num_canvases(config: Config) -> int:
    """That training images may come on."""
    # Of a semantic model crops are the only canvas.
    return 1 if config.task == "semantic" else len(training_canvases(config.data.buckets))


def _variables_to_start(config: Config, task: Task, workdir: AnyPath) -> Variables:
    """The variables that a new run starts from, told and kept in starting_weights.json."""
    if newest_step(workdir) is not None:
        # The checkpoint has them; the weights need not even be there any more.
        return jax.device_put(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), task.shapes()))
    variables, weights = starting_variables(config, task)
    # An earlier attempt, which left no checkpoint, may have written the file.
    if is_lead():
        (workdir / "starting_weights.json").unlink(missing_ok=True)
    if weights is not None and is_lead():
        print(describe_weights(weights), flush=True)
        write_json(workdir / "starting_weights.json", report_record(weights))
    return variables


def evaluate_run(
    workdir: AnyPath, config: Config | None = None, output: AnyPath | None = None
) -> Results:
    """Scores the newest checkpoint of `workdir`, prints the table, writes results.json and
    report.html.

    A set without annotations (COCO's test sets) has its detections written and is not scored.

    Args:
      config: other data or settings than the run's own.
      output: where results go instead of `workdir`, which may be one that can only be read.
    Raises: ValueError, before long work, if the checkpoint is damaged, its classes are not those of
      the data set, or the results cannot be written.
    """
    variables, meta, step = load_variables(workdir)
    place = workdir if output is None else output
    # Now, and not when all is scored and nothing can be kept.
    check_workdir(place, "--output (by default the --workdir)")
    config = with_newer_fields(meta.config) if config is None else config
    check_config(config)
    check_devices(config, ("eval",))
    use_compilation_cache(place / "compiled")
    task = build_task(config)
    datasets = build_task_eval_set(config)
    _check_same_classes(meta.class_names, datasets.class_names)
    check_same_tree(variables, task.shapes(), f"the checkpoint of step {step}")
    check_finite(variables, f"the checkpoint of step {step}")
    scores = score(task, variables, datasets, config)
    save_results(place, scores, step, name=workdir.name, metrics=read_metrics(workdir))
    if is_lead():
        scores.save_details(place)
    return scores.results


def _check_same_classes(known: tuple[str, ...], of_data: tuple[str, ...]) -> None:
    """Names that nobody gave are none; the data set's, if as many, are what they must be."""
    if are_made_up(known) and len(known) == len(of_data):
        tell(
            "the checkpoint has no class names; its classes are taken for those of the data set, "
            f"in that order: {first(of_data, 8)}"
        )
    elif known != of_data:
        ours, theirs = (first([*map(repr, names)], 20) for names in (known, of_data))
        raise ValueError(
            f"the checkpoint knows the classes {ours}, the data set has {theirs}; evaluate on data "
            "with the same classes."
        )


def save_results(
    place: AnyPath,
    scores: Scores,
    step: int,
    *,
    name: str,
    metrics: Sequence[Mapping[str, float]],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Prints the table, keeps the numbers in results.json, and makes report.html of them.

    In one process of all; without results nothing is written.

    Args:
      name: of the run, for the report.
      metrics: the records of the run, whose learning curves the report has.
      about: what else results.json should say.
    """
    if not is_lead():
        return
    print(scores.table, flush=True)
    if not scores.results:
        return
    head = {"step": step} | dict(about or {})
    write_json(place / "results.json", head | scores.results | scores.details)
    with waiting_for("drawing report.html"):
        page = report_page(
            f"Evaluation of {readable(name)}",
            [f"The model after {step} steps."],
            scores.results,
            scores.details,
            pair_of=scores.pair,
            metrics=metrics,
        )
    write_whole(place / "report.html", page)


def flat_results(results: Results) -> dict[str, float]:
    """`named_scores` without what could not be measured."""
    return {name: value for name, value in named_scores(results).items() if value is not None}


def check_devices(config: Config, parts: Sequence[str] = ("train", "eval")) -> None:
    """Raises ValueError unless the batch sizes of `parts` divide by the devices, and a device's
    part of a training batch by `train.accumulate_steps`."""
    num_devices = jax.device_count()
    for part in parts:
        size = config[part].batch_size
        if size < 1 or size % num_devices:
            raise ValueError(
                f"config.{part}.batch_size must be a multiple of the {num_devices} devices, got "
                f"{size}; use {max(size // num_devices, 1) * num_devices}."
            )
    images = config.train.batch_size // num_devices
    if "train" in parts and images % config.train.accumulate_steps:
        raise ValueError(
            "config.train.accumulate_steps must divide the images of a device, got "
            f"{config.train.accumulate_steps} for {images} images (config.train.batch_size "
            f"{config.train.batch_size} on {num_devices} devices)."
        )
