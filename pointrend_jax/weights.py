"""A model's variables from wherever they are: drawn, a weights file, its address, a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from pointrend_jax.config_rules import check_config
from pointrend_jax.data.sources.categories import class_names
from pointrend_jax.importers.detectron2 import backbone_prefix, detectron2_rules
from pointrend_jax.importers.detectron2_names import canonical_names
from pointrend_jax.importers.download import resolve_weights
from pointrend_jax.importers.efficientnet_lite import PACKAGED_BACKBONES, packaged_weights
from pointrend_jax.importers.first_convolution import inflate_first
from pointrend_jax.importers.take_tensors import (
    Rule,
    Shapes,
    TensorReport,
    own_rules,
    take_tensors,
)
from pointrend_jax.importers.weights_file import read_weights_file
from pointrend_jax.messages import first
from pointrend_jax.models.backbones import BACKBONES
from pointrend_jax.models.own_parts import own_modules
from pointrend_jax.pixel_format import pixel_format
from pointrend_jax.storage import AnyPath, as_path, is_folder, sha256
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.task import Task, Variables
from pointrend_jax.training.saved_variables import load_variables
from pointrend_jax.training.trees import array_shapes, flat, nested


class Weights(NamedTuple):
    """Arrays of a model, by path, and where they come from.

    Attributes:
      arrays: "params/fpn/lateral2/kernel" and so on; a part of the model where the report says so.
      source: the file or directory.
      sha256: of the file; "" for a checkpoint, which is a directory.
      scheme: whose names the tensors had.
      report: what became of every tensor, by Detectron2's name (or ours, of a checkpoint).
      wrapper: the prefix that all names in the file had; "" for none.
      renamed: names in the file to those of the report, where they differ.
      not_needed: what the file has beside the model: classifiers, counters, an optimiser's state.
      inflated: what became of the first convolution for images that are no photos; "" for nothing.
    """

    arrays: dict[str, np.ndarray]
    source: AnyPath
    sha256: str
    scheme: str
    report: TensorReport
    wrapper: str = ""
    renamed: Mapping[str, str] = MappingProxyType({})
    not_needed: tuple[str, ...] = ()
    inflated: str = ""


def load_weights(source: str | Path, config: Config) -> tuple[Variables, tuple[str, ...]]:
    """Variables of the whole model of `config`, and the names of its classes.

    Args:
      source: a Detectron2 or torch file of exactly this model, or a name of one
        (`importers.download.resolve_weights`).
    Raises: ValueError that says what does not fit.
    """
    names = names_of_classes(config)
    weights = import_file(source, config, build_task(config))
    return nested(weights.arrays), names


def names_of_classes(config: Config) -> tuple[str, ...]:
    """The class names of a model that comes without a data set. Raises as `class_names`."""
    data = config.data
    # A configuration of an earlier version has no names.
    return class_names(data.categories, config.num_classes, tuple(data.get("class_names", ())))


def import_file(
    source: str | Path, config: Config, task: Task, *, starting: bool = False
) -> Weights:
    """The arrays of a weights file for the model of `config`.

    Args:
      starting: for training: `config.init.reset` counts, and a file of a backbone is enough.
    Raises: ValueError that lists what does not fit, or says why the file cannot be read.
    """
    shapes = array_shapes(task.shapes())
    rules = detectron2_rules(shapes, own_modules(config))
    path = resolve_weights(str(source))
    file = read_weights_file(path)
    try:
        canonical = canonical_names(
            file.tensors,
            backbone_prefix=backbone_prefix(shapes),
            ignored=tuple(config.init.ignore),
        )
        _check_pixels(canonical.scheme, config.model.backbone)
        _check_statistics(file.tensors, canonical.wrapper, config.model.backbone)
        is_backbone = canonical.scheme != "detectron2"
        named, inflated = canonical.tensors, ""
        if starting:
            named, inflated = _for_pixels(named, rules, config)
        if is_backbone and not starting:
            raise ValueError(
                "it holds a backbone alone, from which training can start "
                "(config.init.weights), and no model that predicts."
            )
        arrays, report = take_tensors(
            named,
            rules,
            shapes,
            reset=tuple(config.init.reset) if starting else (),
            only_module="backbone" if is_backbone else "",
            allow_unused=tuple(config.init.ignore),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Weights(
        arrays,
        path,
        sha256(path),
        canonical.scheme,
        report,
        wrapper=canonical.wrapper,
        renamed=canonical.renamed,
        not_needed=canonical.dropped + file.ignored,
        inflated=inflated,
    )


def starting_weights(config: Config, task: Task) -> Weights | None:
    """What `config.init` names to start training from; None for random variables.

    Raises: ValueError if the weights are unknown or do not fit the model, or if `config.init.reset`
      names what there is not.
    """
    name = str(config.init.weights)
    if not name:
        if config.init.reset:
            raise ValueError(
                "config.init.reset keeps modules from taking config.init.weights, which is ''; "
                "set the weights, or remove the reset."
            )
        return None
    if name in PACKAGED_BACKBONES:
        # Two variants may have equal names, and some equal shapes.
        if config.model.backbone != name:
            raise ValueError(
                f"config.init.weights {name!r} needs config.model.backbone {name!r}, "
                f"got {config.model.backbone!r}."
            )
        return import_file(packaged_weights(name), config, task, starting=True)
    if is_folder(name):
        return _checkpoint_weights(as_path(name), config, task)
    try:
        return import_file(name, config, task, starting=True)
    except ValueError as error:
        raise ValueError(f"config.init.weights: {error}") from error


def starting_variables(config: Config, task: Task) -> tuple[Variables, Weights | None]:
    """Random variables with the weights of `config.init` in their place, and what these were.

    Raises: ValueError as `starting_weights`, or if layers that are not trained would stay random.
    """
    check_starting_weights(config)
    weights = starting_weights(config, task)
    if weights is None:
        return task.init(config.seed), None
    random = flat(task.init(config.seed, without=weights.arrays))
    frozen = [path for path in random if path.startswith("params/")]
    frozen = [path for path in frozen if not task.is_trainable(tuple(path.split("/")[1:]))]
    if frozen:
        raise ValueError(
            f"config.model.freeze_at is {config.model.freeze_at}, but {weights.source} has not all "
            f"of what is frozen: {first(frozen, 8)} would stay random; set "
            "config.model.freeze_at to 0, or start from weights of the whole backbone."
        )
    arrays = random | jax.device_put(weights.arrays)
    # A model may have no buffers at all.
    return {"buffers": {}} | nested(arrays), weights._replace(arrays={})


def check_starting_weights(config: Config) -> None:
    """What can be told of `config.init.weights` before a data set is read.

    Raises: ValueError, saying what to do, if they are those of a package that is not installed, or
      there are none and a part of the backbone is not trained. What has to be downloaded is.
    """
    weights, freeze_at = config.init.weights, config.model.freeze_at
    if weights in PACKAGED_BACKBONES:
        packaged_weights(weights)
    elif weights and not is_folder(weights):
        try:
            resolve_weights(weights)
        except ValueError as error:
            raise ValueError(f"config.init.weights: {error}") from error
    if not weights and freeze_at > 0:
        raise ValueError(
            f"config.init.weights is '', so the backbone begins with random values, and "
            f"config.model.freeze_at {freeze_at} would keep those of its first stages for ever. "
            "Name weights (efficientnet_lite0 comes with the package; docs/checkpoints.md has "
            "others), or train the whole backbone: config.model.freeze_at = 0."
        )


def _checkpoint_weights(workdir: AnyPath, config: Config, task: Task) -> Weights:
    variables, meta, _ = load_variables(workdir)
    own: Config = ConfigDict(meta.config)
    check_config(own)
    check_same_backbone(workdir, own.model.backbone, config)
    _check_same_colours(workdir, own, config)
    shapes: Shapes = array_shapes(task.shapes())
    tensors: Mapping[str, np.ndarray]
    tensors = {_own_name(n, shapes): np.asarray(a) for n, a in flat(variables).items()}
    rules, inflated = own_rules(shapes), ""
    if pixel_format(own).is_rgb:
        tensors, inflated = _for_pixels(tensors, rules, config)
    try:
        arrays, report = take_tensors(
            tensors,
            rules,
            shapes,
            reset=tuple(config.init.reset),
            allow_unused=tuple(config.init.ignore),
        )
    except ValueError as error:
        raise ValueError(f"{workdir}: {error}") from error
    return Weights(arrays, workdir, "", "pointrend_jax", report, inflated=inflated)


def _for_pixels(
    tensors: Mapping[str, np.ndarray], rules: Mapping[str, Rule], config: Config
) -> tuple[Mapping[str, np.ndarray], str]:
    """Tensors of a model of photos for the images of `config`, and in words what was changed."""
    pixels, bgr = pixel_format(config), BACKBONES[config.model.backbone].bgr
    words = ""
    if not pixels.is_rgb:
        tensors, words = inflate_first(tensors, rules, pixels, bgr=bgr)
    if words and config.model.freeze_at > 0:
        words += "; it is not trained (config.model.freeze_at = 0 trains it)"
    return tensors, words


def _own_name(name: str, shapes: Shapes) -> str:
    """A norm's scale and bias are parameters where it is trained and buffers where it is not."""
    for here, there in (("buffers/", "params/"), ("params/", "buffers/")):
        other = there + name.removeprefix(here)
        if name.startswith(here) and name not in shapes and other in shapes:
            return other
    return name


def check_same_backbone(source: AnyPath, saved: str, config: Config) -> None:
    """Two backbones of equal arrays may expect other pixels. Raises ValueError if they differ."""
    if saved != config.model.backbone:
        raise ValueError(
            f"{source} was made with the backbone {saved!r}, config.model.backbone is "
            f"{config.model.backbone!r}: weights of one do not fit the other."
        )


def _check_same_colours(source: AnyPath, own: Config, config: Config) -> None:
    """Equal arrays of other channels find nothing. Raises ValueError if red is elsewhere, say.

    Those of a model of RGB are put where the colours are, so any places will do.
    """
    saved, ours = pixel_format(own), pixel_format(config)
    differ = saved.rgb_channels and ours.rgb_channels and saved.rgb_channels != ours.rgb_channels
    if differ and saved.channels == ours.channels and not saved.is_rgb:
        raise ValueError(
            f"{source} was made with config.data.rgb_channels {saved.rgb_channels}, here they are "
            f"{ours.rgb_channels}: bring the channels of the images into its order."
        )


def _check_statistics(tensors: Mapping[str, np.ndarray], wrapper: str, backbone: str) -> None:
    """Some files say which pixels they expect; our configuration must say the same."""
    spec = BACKBONES[backbone]
    for name, ours in (("pixel_mean", spec.pixel_mean), ("pixel_std", spec.pixel_std)):
        found = tensors.get(wrapper + name, tensors.get(name))
        if found is None:
            continue
        if found.size != len(ours) or not np.allclose(found.reshape(-1), ours, atol=1e-2):
            raise ValueError(
                f"its {name} is {found.reshape(-1)[:8].tolist()}, but that of "
                f"config.model.backbone {backbone!r} is {list(ours)}: choose the backbone that "
                f"the weights were trained with, of {', '.join(BACKBONES)}."
            )


def _check_pixels(scheme: str, backbone: str) -> None:
    """Weights of one kind of pixels run on another's without an error, and find nothing."""
    if (scheme == "torchvision_backbone") != backbone.endswith("_torchvision") and (
        scheme in ("torchvision_backbone", "caffe2_backbone")
    ):
        kind = "RGB pixels and strides in the 3x3 convolutions"
        raise ValueError(
            f"these are {scheme.replace('_', ' ')} weights, which do not fit "
            f"config.model.backbone {backbone!r}: the backbones ending in '_torchvision' (and only "
            f"they) have {kind}, as torchvision's weights expect."
        )
