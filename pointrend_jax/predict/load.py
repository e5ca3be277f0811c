"""A predictor from what a user has: a run, a converted checkpoint, a file of weights, its name."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pointrend_jax.config import check_field, load_config
from pointrend_jax.config_rules import check_config
from pointrend_jax.convert import description_of
from pointrend_jax.data.sources.categories import category_ids
from pointrend_jax.devices.compilation_cache import use_compilation_cache
from pointrend_jax.export.artefact import read_artefact, read_description
from pointrend_jax.importers.published import unknown_model, weights_url
from pointrend_jax.predict.formats import A_REFINER
from pointrend_jax.predict.instances import Predictor
from pointrend_jax.predict.labels import SemanticPredictor
from pointrend_jax.predict.published import is_published, published_checkpoint
from pointrend_jax.predict.refiner import NONE_PUBLISHED, MaskRefiner
from pointrend_jax.storage import (
    AnyPath,
    as_path,
    default_cache_dir,
    expanded,
    is_folder,
    local_path,
)
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Variables
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.saved_variables import load_description, load_variables
from pointrend_jax.training.trees import nested
from pointrend_jax.weights import check_same_backbone, import_file, load_weights


def load(
    source: Path | str, config: Config | Mapping[str, Any] | Path | str | None = None
) -> Predictor | SemanticPredictor:
    """A predictor from a checkpoint, a published model or a file of weights, on the default device.

    A checkpoint knows its configuration and its class names, so its directory is enough, and so are
    a file that `convert --checkpoint` or `export` wrote and the name of a published model, which is
    downloaded and made a checkpoint once. Other files do not: `config` says which model it is. Its
    `config.task` decides what you get: a `Predictor` of instances, or a `SemanticPredictor` of
    label maps.

    Args:
      source: the work directory of a run or of `convert` (or its `checkpoints` folder); the name of
        a published model (docs/checkpoints.md), unless a file or folder here has it; or a
        Detectron2, torch or safetensors file of the whole model, or an address of one, which is
        downloaded once.
      config: of such a file, the whole configuration of its model, the name of one or the path of a
        config file. Of others, what should differ from their own: fields by their dotted name, or a
        whole configuration. Fields of inference can be changed (how large images are resized, the
        thresholds, how many detections); one that changes the arrays of the model is refused.

    Compiled programs are kept in the user's cache folder (`default_cache_dir`), so that the next
    process predicts at once; $JAX_COMPILATION_CACHE_DIR names another place, and
    JAX_ENABLE_COMPILATION_CACHE=false keeps none.

    Raises: ValueError if there is no checkpoint or file, a field does not exist or has another
      type, or the model of `config` is not that of the weights, with every array that differs.

    Example:
      predictor = load("runs/people")
      fast = load("runs/people", {"data.eval_min_size": 480, "model.box.score_threshold": 0.5})
      coco = load("pointrend_rcnn_r50_fpn_3x_coco")
      coco = load("model_final_edd263.pkl", "pointrend_rcnn_r50_fpn_3x_coco")
      mine = load("model.safetensors")  # of `convert --checkpoint`
    """
    use_compilation_cache(default_cache_dir() / "compiled")
    saved = _saved(source, config)
    if saved is not None:
        own = _own_config(saved.meta)
        changed = _changed(own, config)
        check_config(changed)
        check_same_backbone(saved.place, own.model.backbone, changed)
        return _predictor(saved.variables, changed, saved.meta.class_names, saved.meta.category_ids)
    whole = _config_of_file(source, config)
    variables, class_names = load_weights(source, whole)
    ids = category_ids(whole.data.categories, whole.data.source, whole.num_classes)
    return _predictor(variables, whole, class_names, ids)


def load_refiner(
    source: Path | str, config: Config | Mapping[str, Any] | Path | str | None = None
) -> MaskRefiner:
    """A refiner of masks from the work directory of its training; arguments as of `load`.

    Raises: ValueError as `load`, or if the run is of another task.
    """
    use_compilation_cache(default_cache_dir() / "compiled")
    # No published model refines, so nothing is downloaded.
    is_here = is_folder(source) or os.path.isfile(expanded(source))
    saved = _saved(source, config) if is_here else None
    own = None if saved is None else _own_config(saved.meta)
    if saved is None or own is None or own.task != "refine":
        raise ValueError(f"{source} is no run of a refiner (config.task): {NONE_PUBLISHED}.")
    changed = _changed(own, config)
    check_config(changed)
    return MaskRefiner(saved.variables, changed)


def model_config(source: Path | str, config: Config | Path | str | None = None) -> Config:
    """The configuration of a model by itself, without a download and without its arrays.

    Args:
      config: of a file of weights that does not say what its model is, as `load` takes it; nothing
        of it goes into the configuration of what has its own.
    Raises: ValueError as `load`, if there is no such source or its description is damaged.
    """
    if is_folder(source):
        return _own_config(load_description(as_path(source)))
    if is_published(source):
        return load_config(str(source))
    described = _description(source)
    if described is not None:
        return _own_config(described)
    own = _config_of_file(source, config)
    if not os.path.isfile(expanded(source)):
        # Refuses what is no address either.
        weights_url(str(source))
    return own


class _Saved(NamedTuple):
    """A model that says what it is, and where that was found."""

    place: AnyPath
    meta: CheckpointMeta
    variables: Variables


def _saved(
    source: Path | str, config: Config | Mapping[str, Any] | Path | str | None
) -> _Saved | None:
    """The model of a checkpoint, a published name or a file that says what its model is.

    None for another file, which does not say what its model is.

    Args:
      config: as of `load`; a wrong one is told before a download.
    """
    if is_folder(source):
        variables, meta, _ = load_variables(as_path(source))
        return _Saved(as_path(source), meta, variables)
    if is_published(source):
        check_config(_changed(load_config(str(source)), config))
        workdir = published_checkpoint(str(source))
        try:
            variables, meta, _ = load_variables(workdir)
        except ValueError as error:
            raise ValueError(f"{error} Or delete {workdir}, and it is made again.") from error
        return _Saved(workdir, meta, variables)
    meta = _description(source)
    if meta is None:
        return None
    own, file = _own_config(meta), local_path(source)
    if read_description(file) is not None:
        return _Saved(file, meta, read_artefact(file)[0])
    arrays = import_file(source, own, build_task(own)).arrays
    return _Saved(file, meta, nested(arrays))


def _description(source: Path | str) -> CheckpointMeta | None:
    """What a file says of its model; None if it says nothing, or there is no file."""
    if not os.path.isfile(expanded(source)):
        return None
    file = local_path(source)
    return description_of(file) or read_description(file)


def _own_config(meta: CheckpointMeta) -> Config:
    own: Config = ConfigDict(meta.config).lock()
    check_config(own)
    # Refuses a part of a user's own that has not been added here.
    build_task(own)
    return own


def _config_of_file(
    source: Path | str, config: Config | Mapping[str, Any] | Path | str | None
) -> Config:
    """The whole configuration that belongs to a file of weights."""
    if not isinstance(config, (ConfigDict, str, Path)):
        text = str(source)
        what = (
            "does not say what its model is."
            if "://" in text or os.path.isfile(expanded(text))
            else "is no directory of a checkpoint, no file and no published model. "
            f"{unknown_model(text)}"
        )
        raise ValueError(
            f"{source} {what} A file of weights needs the configuration of its model: "
            "load(file, config), or predict --weights FILE --config NAME."
        )
    whole = _whole(config)
    check_config(whole)
    return whole


def _predictor(
    variables: Variables, config: Config, class_names: Sequence[str], category_ids: Sequence[int]
) -> Predictor | SemanticPredictor:
    if config.task == "refine":
        raise ValueError(f"{A_REFINER}.")
    if config.task == "semantic":
        return SemanticPredictor(variables, config, class_names)
    return Predictor(variables, config, class_names, category_ids)


def _whole(config: Config | Path | str) -> Config:
    """A model's config, locked, from a file or as it is."""
    if isinstance(config, (str, Path)):
        return load_config(config)
    return config.copy_and_resolve_references().lock()


def _changed(own: Config, config: Config | Mapping[str, Any] | Path | str | None) -> Config:
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
