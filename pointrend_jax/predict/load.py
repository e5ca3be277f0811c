"""A predictor from what a user has: a run, a converted checkpoint, a file of weights, its name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pointrend_jax.config import check_field, load_config
from pointrend_jax.config_rules import check_config
from pointrend_jax.data.sources.categories import category_ids
from pointrend_jax.devices.compilation_cache import use_compilation_cache
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.storage import as_path, default_cache_dir, is_folder
from pointrend_jax.structures import Config
from pointrend_jax.tasks.task import Variables
from pointrend_jax.training.saved_variables import load_description, load_variables
from pointrend_jax.weights import check_same_backbone, load_weights


def load(
    source: Path | str, config: Config | Mapping[str, Any] | Path | str | None = None
) -> Predictor | SemanticPredictor:
    """A predictor from a checkpoint or from a file of weights, on the default device.

    A checkpoint knows its configuration and its class names, so its directory is enough. A file
    does not: `config` says which model it is. Its `config.task` decides what you get: a `Predictor`
    of instances, or a `SemanticPredictor` of label maps.

    Args:
      source: the work directory of a run or of `convert` (or its `checkpoints` folder); or a
        Detectron2 or torch file of the whole model, or an address or a name of a published one
        (docs/checkpoints.md), which is downloaded once.
      config: of a file, the whole configuration of its model, or the path of a config file. Of a
        checkpoint, what should differ from its own: fields by their dotted name, or a whole
        configuration. Fields of inference can be changed (how large images are resized, the
        thresholds, how many detections); one that changes the arrays of the model is refused.

    Compiled programs are kept in the user's cache folder (`default_cache_dir`), so that the next
    process predicts at once; $JAX_COMPILATION_CACHE_DIR names another place, and
    JAX_ENABLE_COMPILATION_CACHE=false keeps none.

    Raises: ValueError if there is no checkpoint or file, a field does not exist or has another
      type, or the model of `config` is not that of the weights, with every array that differs.

    Example:
      predictor = load("runs/people")
      fast = load("runs/people", {"data.eval_min_size": 480, "model.box.score_threshold": 0.5})
      coco = load("model_final_edd263.pkl", "configs/pointrend_rcnn_r50_fpn_3x_coco.py")
    """
    use_compilation_cache(default_cache_dir() / "compiled")
    if is_folder(source):
        variables, meta, _ = load_variables(as_path(source))
        own: Config = ConfigDict(meta.config).lock()
        check_config(own)
        changed = _changed(own, config)
        check_config(changed)
        check_same_backbone(as_path(source), own.model.backbone, changed)
        return _predictor(variables, changed, meta.class_names, meta.category_ids)
    if not isinstance(config, (ConfigDict, str, Path)):
        raise ValueError(
            f"{source} is no directory of a checkpoint; a file of weights needs the configuration "
            "of its model too: load(file, config)."
        )
    whole = _whole(config)
    check_config(whole)
    variables, class_names = load_weights(source, whole)
    ids = category_ids(whole.data.categories, whole.data.source, whole.num_classes)
    return _predictor(variables, whole, class_names, ids)


def task_of(source: Path | str) -> str:
    """ "instance" or "semantic": what a checkpoint's models are, without loading its arrays.

    Raises: ValueError as `load`, if there is no checkpoint or its description is damaged.
    """
    config: Config = ConfigDict(load_description(as_path(source)).config)
    check_config(config)
    return config.task


def _predictor(
    variables: Variables, config: Config, class_names: Sequence[str], category_ids: Sequence[int]
) -> Predictor | SemanticPredictor:
    if config.task == "semantic":
        return SemanticPredictor(variables, config, class_names)
    return Predictor(variables, config, class_names, category_ids)


def _whole(config: Config | Path | str) -> Config:
    """A model's config, locked, from a file or as it is."""
    if isinstance(config, (str, Path)):
        return load_config(config)
    return config.copy_and_resolve_references().lock()


def _changed(own: Config, config: Config | Mapping[str, Any] | None) -> Config:
    """The configuration of a checkpoint with what `load` was asked to change."""
    if isinstance(config, (ConfigDict, str, Path)):
        return _whole(config)
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(
            "config must be fields by their dotted name, a whole ConfigDict or the path of a "
            f"config file, got {type(config).__name__}."
        )
    changed = own.copy_and_resolve_references()
    for field, value in (config or {}).items():
        check_field(changed, field)
        try:
            changed.update_from_flattened_dict({field: value})
        except TypeError as error:
            raise ValueError(f"config.{field} cannot be set to {value!r}: {error}.") from error
    return changed
