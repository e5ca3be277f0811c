"""What the models ask of the parts that a config names, and the checks of what these give.

The built-in parts meet these protocols, and so must a part of a user (`pointrend_jax/extend.py`).
All are Linen modules. Their attributes are hashable, so tuples and not lists: equal models share
what is compiled. What a part gives is checked when it is traced, with a ValueError.

B images on a canvas of H x W pixels, multiples of 32; N regions; K classes.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from pointrend_jax.layers.regions import MaskLogits, Regions
from pointrend_jax.ops.losses import LossTerm
from pointrend_jax.pointrend import CandidatePoints, PredictPoints, RenderStep
from pointrend_jax.structures import ObjectBatch


@runtime_checkable
class Backbone(Protocol):
    """From pixels to maps at four strides."""

    def __call__(self, x: Array, padded_hw: Array) -> dict[str, Array]:
        """{"res2": ..., "res3": ..., "res4": ..., "res5": ...}, each [B, H / stride, W / stride, C]
        of the type of `x`.

        The strides are 4, 8, 16 and 32, none above `BackboneOptions.output_stride`. What lies
        beyond `padded_hw` may be anything in the maps, but must change nothing within: it is zeroed
        (`layers.padding.zero_beyond`) before every window that could read it.

        Args:
          x: [B, H, W, C], normalised as its `BackboneSpec` says, float32 or bfloat16.
          padded_hw: int32 [B, 2], multiples of 32: the part of the canvas that is the image's.
        """
        ...

    def frozen_modules(self) -> tuple[str, ...]:
        """Names of the submodules that are not trained; () if all are."""
        ...


@runtime_checkable
class CoarseMaskPredictor(Protocol):
    """The coarse mask that PointRend refines (`PointRendMaskHead.coarse_head`).

    Attributes:
      num_classes: K.
      resolution: h, the side of its masks in cells.
    """

    num_classes: int
    resolution: int

    def __call__(self, p2: Array, boxes: Array, image_index: Array) -> Array:
        """Logits float32 [N, h, h, K] of each class in the frame of the box.

        Args:
          p2: [B, H / 4, W / 4, C], zero beyond the image.
          boxes: float32 [N, 4], xyxy in pixels of the canvas; may reach out of it.
          image_index: int32 [N], the image of each.
        """
        ...


@runtime_checkable
class MaskHead(Protocol):
    """From the pyramid and regions to masks; see `ConvMaskHead` for a short one."""

    @property
    def side(self) -> int:
        """M, of the masks in the frame of the box."""
        ...

    @property
    def coarse_side(self) -> int:
        """m, of the coarse masks that are scored beside them; `side` where there are none."""
        ...

    def draw_candidates(self, key: Array, num_regions: int) -> CandidatePoints:
        """The random numbers of `losses` for one image's regions."""
        ...

    def losses(
        self,
        pyramid: dict[str, Array],
        regions: Regions,
        batch: ObjectBatch,
        candidates: CandidatePoints,
    ) -> dict[str, LossTerm]:
        """(sum, denominator) by name; regions that are not valid count in neither."""
        ...

    def prepare(self, pyramid: dict[str, Array], num_regions: int) -> Any:
        """What all regions of `predict` share, made once for an image batch."""
        ...

    def encode_regions(self, pyramid: dict[str, Array], regions: Regions) -> Any:
        """What `predict` needs of each region: arrays that begin with the axis N."""
        ...

    def predict(
        self, prepared: Any, encoded: Any, /, regions: Regions, padded_hw: Array
    ) -> MaskLogits:
        """Logits of each region's own class, float32 [N, M, M] and [N, m, m]."""
        ...


@runtime_checkable
class ExplainedMaskHead(MaskHead, Protocol):
    """A mask head that renders: it shows how, and predicts points of a region one by one."""

    subdivision_num_points: int

    def point_predictor(self, pyramid: dict[str, Array], regions: Regions) -> PredictPoints:
        """The function from points [N, P, 2] of the regions to logits [N, P, 1]."""
        ...

    def explain(
        self, pyramid: dict[str, Array], regions: Regions
    ) -> tuple[MaskLogits, list[RenderStep]]:
        """The masks and every rendering step."""
        ...


@runtime_checkable
class SemanticHead(Protocol):
    """From the maps of an image to coarse logits."""

    @property
    def stride(self) -> int:
        """Input pixels a cell of the logits."""
        ...

    def __call__(
        self, maps: dict[str, Array], padded_hw: Array, dropout_keys: Array | None = None
    ) -> Array:
        """Logits float32 [B, H / stride, W / stride, K].

        Args:
          maps: res2..res5 and, with an FPN, p2..p6, zero beyond `padded_hw`.
          padded_hw: as of `Backbone`.
          dropout_keys: [B], one an image, of a training step; None for no dropout.
        """
        ...


def check_module(module: Any, protocol: type, field: str) -> None:
    """Raises ValueError unless a part is a Linen module that meets its protocol and has a hash.

    Args: field, with its value, for the message, such as "config.model.backbone 'mine'".
    """
    what = f"{field} gives {type(module).__name__}, which must"
    if not isinstance(module, nn.Module):
        raise ValueError(f"{what} be an instance of a flax.linen.Module.")
    if not isinstance(module, protocol):
        missing = [name for name in dir(protocol) if name[0] != "_" and not hasattr(module, name)]
        raise ValueError(
            f"{what} have {', '.join(missing) or '__call__'}, as "
            f"pointrend_jax.extend.{protocol.__name__} says."
        )
    try:
        hash(module)
    except TypeError as error:
        raise ValueError(
            f"{what} have attributes with a hash, such as tuples instead of lists."
        ) from error


def check_maps(
    maps: Any, pixels: Array, strides: tuple[int, int, int, int], backbone: object
) -> None:
    """Raises ValueError unless a backbone gave res2..res5 of the right shapes and type."""
    who = type(backbone).__name__
    names = ("res2", "res3", "res4", "res5")
    if not isinstance(maps, Mapping) or sorted(maps) != list(names):
        given = sorted(map(str, maps)) if isinstance(maps, Mapping) else type(maps).__name__
        raise ValueError(f"the backbone {who} must give a dict of {list(names)}, got {given}.")
    batch_size, height, width = pixels.shape[:3]
    for name, stride in zip(names, strides, strict=True):
        x = maps[name]
        expected = (batch_size, height // stride, width // stride)
        shape = getattr(x, "shape", ())
        if len(shape) != 4 or shape[:3] != expected or x.dtype != pixels.dtype:
            raise ValueError(
                f"the backbone {who} must give {name} as {pixels.dtype} [B, H, W, C] = "
                f"{[*expected, 'C']}, of stride {stride}, got {_described(x)}."
            )


def check_logits(logits: Any, shape: tuple[int, ...], part: object, what: str) -> None:
    """Raises ValueError unless a part gave float32 logits of that shape.

    Args: what, for the message, such as "coarse logits [N, h, h, K]".
    """
    if getattr(logits, "shape", None) != shape or logits.dtype != jnp.float32:
        raise ValueError(
            f"{type(part).__name__} must give {what} = {list(shape)} in float32, got "
            f"{_described(logits)}."
        )


def check_losses(losses: Any, part: object) -> None:
    """Raises ValueError unless a head gave losses by name, each a `LossTerm` of two scalars."""
    if isinstance(losses, Mapping) and all(
        isinstance(term, LossTerm) and jnp.shape(term.total) == jnp.shape(term.denominator) == ()
        for term in losses.values()
    ):
        return
    raise ValueError(
        f"the losses of {type(part).__name__} must be a dict from names to "
        f"LossTerm(total, denominator), both scalars, got {_described(losses)}."
    )


def _described(given: Any) -> str:
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        return f"{given.dtype} {list(given.shape)}"
    return f"{type(given).__name__} {str(given)[:200]}"
