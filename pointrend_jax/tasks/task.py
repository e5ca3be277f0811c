"""A task: what training optimises, what a user gets of a prediction, and how that is scored."""

import math
from collections.abc import Callable, Collection, Iterator
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar, cast, runtime_checkable

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from pointrend_jax.evaluation.results import Evaluation, Results
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.pointrend import RenderStep
from pointrend_jax.report.sections import Pair
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.results.label_maps import PredictedLabels
from pointrend_jax.results.refined import RefinedCrop
from pointrend_jax.storage import AnyPath
from pointrend_jax.structures import Array, EvalSample, ImageBatch

# {"params": trained (or kept by stage), "buffers": statistics and other arrays that no optimizer
# touches}, nested by module name.
Variables = dict[str, Any]

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


def kept(function: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
    """A decorator: the last few equal arguments give the same object again.

    What jax has traced and compiled belongs to the very function that was given to it, so a task,
    or a program of one, that is made anew for the next evaluation or predictor is compiled anew.
    """
    return cast(Callable[_Args, _Result], lru_cache(maxsize=8)(function))


# What a user gets of one image, or a refiner's of one object.
Prediction = PredictedInstances | PredictedLabels | RefinedCrop


@runtime_checkable
class Evaluator(Protocol):
    """Scores of predictions beside the truth of an evaluation set, which it was made with.

    An image of a refiner is one object, and its id the place of that in the set.
    """

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The images added so far, ascending."""
        ...

    def add(self, image_id: int, prediction: Any) -> None:
        """Takes what a user gets of one image. Several threads may add, each other images."""
        ...

    @property
    def parts(self) -> Any:
        """What was added so far, for `merge` of its like in another process."""
        ...

    def merge(self, parts: Any) -> None:
        """Adds the images of another process."""
        ...

    def evaluate(self) -> Evaluation:
        """The scores of all images, and what is known beside them."""
        ...

    def table(self, results: Results) -> str:
        """The scores for people."""
        ...

    def pair(self, image_id: int) -> Pair:
        """Draws an image that the details of `evaluate` name as one of the best or the worst."""
        ...

    def save_details(self, folder: AnyPath) -> None:
        """Writes what comparisons need, such as detections or counts by image."""
        ...


class Task(NamedTuple):
    """The whole interface between a network and the loops around it.

    Attributes:
      init: (seed, without=()) to variables; without the arrays at the given paths, as in
        "params/fpn/lateral2/kernel", for which nothing is compiled then.
      shapes: the same tree with a shape and a type for each array; computes nothing. Raises
        ValueError if a part of the model has other collections.
      loss: (variables, batch, key of the step) to (sum, denominator) by loss name, and the buffers
        after it. Pure; sees one replica.
      predict: (variables, images) to `InstancePredictions` or `SemanticPredictions`; of a refiner
        (variables, `GivenBatch`) to `RefinedLogits`. Pure.
      find, segment: the two halves of `predict` of instances, between which views are merged:
        (variables, images) to maps and `Detections`, and (variables, maps, detections, padded_hw)
        to `MaskLogits`. Pure; None for label maps and refiners.
      predict_scene: (variables, images) to what `predict` gives and the maps that `render` reads. A
        refiner has no scenes and no export: it raises ValueError, as `exported` and `render` do.
      deliver: (predictions, images, original sizes int32 [B, 2], a canvas that holds them) to what
        `results` takes. Pure; None where that is the predictions as they are.
      exported: as `deliver`, of one image, but to arrays by name that need nothing of this package:
        what an exported program gives (export/program.py). Pure.
      results: (sample, what is delivered, class names) to what a user gets of each image, in order.
      explain: every rendering step: (variables, images, regions) to the mask logits of the regions
        and the steps, or (variables, images) to the steps of a semantic model or of a refiner.
        Raises ValueError if the model renders nothing.
      render: every rendering step of windows, the last argument static: (variables, maps, regions,
        windows [N, 4] of each region, (height, width)); or of a semantic model (variables, maps,
        (predictions, images), windows [B, 4], ((height, width), subdivisions)). Raises ValueError
        as `explain`.
      encode_regions: (variables, maps, regions) to what the mask head needs of each region beside
        the maps; of PointRend its coarse logits [N, h, h, K]. Pure; None for label maps and
        refiners.
      is_trainable: tuple of module names, outermost first, to whether the parameter there is
        trained.
      most_delivered: pixels of original images beyond which `results` takes the predictions as they
        are.
    """

    init: Callable[..., Variables]
    shapes: Callable[[], Variables]
    loss: Callable[[Variables, Any, Array], tuple[dict[str, LossTerm], Variables]]
    predict: Callable[[Variables, ImageBatch], Any]
    find: Callable[..., Any] | None
    segment: Callable[..., Any] | None
    predict_scene: Callable[[Variables, ImageBatch], tuple[Any, dict[str, Array]]]
    deliver: Callable[..., Any] | None
    exported: Callable[..., dict[str, Array]]
    results: Callable[[EvalSample, Any, tuple[str, ...]], Iterator[Prediction]]
    explain: Callable[..., Any]
    render: Callable[..., list[RenderStep]]
    encode_regions: Callable[..., Any] | None
    is_trainable: Callable[[tuple[str, ...]], bool]
    most_delivered: float = math.inf


def black_image(channels: int) -> ImageBatch:
    """A batch to initialise a network with: no parameter depends on its size or content."""
    return ImageBatch(
        images=jnp.zeros((1, 64, 64, channels), jnp.uint8),
        image_hw=jnp.full((1, 2), 64),
        padded_hw=jnp.full((1, 2), 64),
        valid=jnp.ones((1,), bool),
    )


def all_but(frozen: Collection[str]) -> Callable[[tuple[str, ...]], bool]:
    """`Task.is_trainable` of a model that is trained but for these modules of its backbone."""

    def is_trainable(path: tuple[str, ...]) -> bool:
        return not (path[0] == "backbone" and path[1] in frozen)

    return is_trainable


def with_fixed_as_constants(
    variables: Variables, is_trainable: Callable[[tuple[str, ...]], bool]
) -> Variables:
    """The variables of a loss, whose gradient does not go through parameters that are not trained.

    What only fixed parameters make is not even traced for the gradient.
    """

    def constant_if_fixed(path: tuple[Any, ...], x: Array) -> Array:
        return x if is_trainable(module_path(path)) else jax.lax.stop_gradient(x)

    params = jax.tree_util.tree_map_with_path(constant_if_fixed, variables["params"])
    return variables | {"params": params}


def module_path(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The names on the way to a leaf of a tree of variables."""
    return tuple(entry.key for entry in path)


def image_keys(key: Array, image_index: Array) -> Array:
    """A key for each image, by its place in the global batch: no device decides what is drawn."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(image_index)


def initial(
    draw: Callable[[Array], Variables],
) -> tuple[Callable[..., Variables], Callable[[], Variables]]:
    """`Task.init` and `Task.shapes` of a model whose variables `draw` makes from a key."""
    # Traced once for both.
    draw = jax.jit(draw)

    @partial(jax.jit, static_argnums=1)
    def drawn(key: Array, without: frozenset[str]) -> Variables:
        arrays = flatten_dict(draw(key), keep_empty_nodes=True, sep="/")
        return unflatten_dict({p: x for p, x in arrays.items() if p not in without}, sep="/")

    def init(seed: int, without: Collection[str] = ()) -> Variables:
        # This generator compiles in half the time of the default one.
        return drawn(jax.random.key(seed, impl="unsafe_rbg"), frozenset(without))

    @cache
    def shapes() -> Variables:
        found = jax.eval_shape(draw, jax.random.key(0, impl="unsafe_rbg"))
        others = sorted(found.keys() - {"params", "buffers"})
        if others:
            raise ValueError(
                f"a part of the model keeps arrays in the collection {', '.join(others)}, but only "
                "'params' and 'buffers' are trained and saved; the norms of "
                "pointrend_jax.layers.norm use these."
            )
        return found

    return init, shapes
