"""PointRend on masks that others made: the region is a crop around an object, the coarse mask is
the given one.

Points are chosen, rendered and trained as in `pointrend.py`; what is new is where the coarse
prediction comes from, and that the features know the mask (`layers/mask_features.py`). The classes
of objects are not seen.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from pointrend_jax.config_rules import check_model_fields
from pointrend_jax.layers.mask_features import (
    FINE_STRIDES,
    MaskFeatures,
    logits_of_means,
    mask_pyramid,
    start_logits,
)
from pointrend_jax.layers.padding import zero_beyond
from pointrend_jax.layers.parts import Backbone, check_maps
from pointrend_jax.layers.pixels import normalise
from pointrend_jax.layers.point_head import PointHead
from pointrend_jax.layers.training_points import loss_at_points, training_points
from pointrend_jax.models.backbones import build_backbone
from pointrend_jax.ops.losses import LossTerm, mean_over, sigmoid_cross_entropy
from pointrend_jax.ops.points import point_sample
from pointrend_jax.pointrend import (
    CandidatePoints,
    PredictPoints,
    RenderStep,
    binary_uncertainty,
    choose_training_points,
    draw_candidate_points,
    point_features,
    render_steps,
)
from pointrend_jax.structures import Config, CropBatch, GivenBatch

# The outline's error is learned as e / (e + this), of pixels of the canvas.
_HALF = 2.0
_MAPS = (("res2", 4), ("res3", 8), ("res4", 16), ("res5", 32))


class RefinedLogits(NamedTuple):
    """What a refiner says of crops.

    Attributes:
      logits: float32 [B, H, W], of the pixels of the canvas.
      error: float32 [B], how far the given outline seems to be off, in pixels of the canvas.
    """

    logits: Array
    error: Array


class Refiner(nn.Module):
    """See the module docstring.

    Attributes: see `configs/base.py`, `model.refine`; and
      map_scales: what brings res2 to res5 to a deviation near 1.
      pixel_mean, pixel_std, bgr: what the backbone's weights expect.
    """

    backbone: Backbone
    map_scales: tuple[float, ...]
    features: MaskFeatures
    point_head: PointHead
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    bgr: bool
    train_num_points: int
    oversample_ratio: float
    importance_sample_ratio: float
    subdivision_steps: int
    subdivision_num_points: int

    # --- training ---

    def draw_noise(self, keys: Array) -> CandidatePoints:
        """The random points of a step, from one key a crop."""

        def of_crop(key: Array) -> CandidatePoints:
            return draw_candidate_points(
                key, 1, num_points=self.train_num_points,
                oversample_ratio=self.oversample_ratio,
                importance_sample_ratio=self.importance_sample_ratio,
            )  # fmt: skip

        return jax.tree.map(lambda x: x[:, 0], jax.vmap(of_crop)(keys))

    def losses(self, batch: CropBatch, candidates: CandidatePoints) -> dict[str, LossTerm]:
        """Cross entropy at points against the true mask, and of the error of the outline."""
        predict_points, start, error = self._seen(batch)
        point_coords = training_points(
            choose_training_points, candidates, start, binary_uncertainty,
            num_points=self.train_num_points,
        )  # fmt: skip
        truth = _shares(batch.truth)
        labels = point_sample(truth, point_coords)[..., 0]
        logits = predict_points(point_coords)[..., 0]
        hw = batch.image_hw[:, None, ::-1].astype(jnp.float32)
        inside = jnp.all(point_coords * batch.images.shape[1] < hw, axis=-1)
        target = _relative(outline_error(_shares(batch.given), truth))
        of_error = sigmoid_cross_entropy(error, target, jnp.ones_like(error, bool))
        return {
            "loss_mask_point": loss_at_points(sigmoid_cross_entropy, logits, labels, inside),
            "loss_outline_error": mean_over(0.5 * of_error, jnp.ones_like(error, bool)),
        }

    # --- inference ---

    def predict(self, batch: GivenBatch) -> RefinedLogits:
        """The rendered masks, and how wrong the given ones seem to be."""
        steps, error = self._render(batch)
        return RefinedLogits(steps[-1].logits[..., 0], _HALF * jnp.exp(error))

    def explain(self, batch: GivenBatch) -> list[RenderStep]:
        """Every rendering step."""
        return self._render(batch)[0]

    def encode(self, batch: GivenBatch) -> dict[str, Array]:
        """The maps of the backbone, which a prediction begins with."""
        return self._encode(batch)[1]

    def _render(self, batch: GivenBatch) -> tuple[list[RenderStep], Array]:
        predict_points, start, error = self._seen(batch)
        steps = render_steps(
            start, predict_points, binary_uncertainty,
            subdivision_steps=self.subdivision_steps,
            subdivision_num_points=self.subdivision_num_points,
            inside_hw=batch.padded_hw // 2**self.subdivision_steps,
        )  # fmt: skip
        return steps, error

    def _encode(self, batch: GivenBatch | CropBatch) -> tuple[Array, dict[str, Array]]:
        pixels = normalise(
            batch.images, batch.image_hw, self.pixel_mean, self.pixel_std, bgr=self.bgr
        )
        maps = self.backbone(pixels, batch.padded_hw)
        check_maps(maps, pixels, (4, 8, 16, 32), self.backbone)
        scaled = zip(_MAPS, self.map_scales, strict=True)
        return pixels, {n: zero_beyond(maps[n] * by, batch.padded_hw, s) for (n, s), by in scaled}

    def _seen(self, batch: GivenBatch | CropBatch) -> tuple[PredictPoints, Array, Array]:
        """The point predictor, the logits that rendering starts from, the error's logit."""
        pixels, maps = self._encode(batch)
        pyramid = mask_pyramid(_shares(batch.given))
        fine, outline, error = self.features(pixels, maps, pyramid, batch.padded_hw)
        batch_size, height, width = batch.images.shape[:3]
        regions = jnp.tile(jnp.array([[0.0, 0.0, width, height]]), (batch_size, 1))

        def predict_points(point_coords: Float[Array, "B P 2"]) -> Float[Array, "B P 1"]:
            of_photo = point_features(
                fine, regions, jnp.arange(batch_size), point_coords, strides=FINE_STRIDES
            )
            of_mask = jnp.concatenate([point_sample(m, point_coords) for m in pyramid], axis=-1)
            everywhere = jnp.broadcast_to(
                outline[:, None], (*point_coords.shape[:2], outline.shape[-1])
            )
            coarse = jnp.concatenate([of_mask, everywhere], axis=-1)
            # What is learned is the difference to the given mask.
            return self.point_head(of_photo, coarse) + logits_of_means(of_mask)

        return predict_points, start_logits(pyramid, 2**self.subdivision_steps), error


def outline_error(
    given: Float[Array, "B H W 1"], truth: Float[Array, "B H W 1"]
) -> Float[Array, " B"]:
    """How far two outlines are apart on average, in pixels: the area between over their length.

    The length is that of the given one, along rows and columns.
    """
    steps = [jnp.sum(jnp.abs(jnp.diff(given, axis=axis)), axis=(1, 2, 3)) for axis in (1, 2)]
    between = jnp.sum(jnp.abs(given - truth), axis=(1, 2, 3))
    return between / jnp.maximum(steps[0] + steps[1], 1.0)


def _relative(error: Float[Array, " B"]) -> Float[Array, " B"]:
    return error / (error + _HALF)


def _shares(mask: UInt8[Array, "B H W"]) -> Float[Array, "B H W 1"]:
    return mask[..., None].astype(jnp.float32) / 255.0


def build_refiner(config: Config) -> Refiner:
    """The network of `config.model` with the head of `config.model.refine`.

    Raises: ValueError, naming the field, for a wrong value.
    """
    check_model_fields(config, "refine")
    module, spec, _, pixels = build_backbone(config)
    refine = config.model.refine
    # Statistics of a batch count the whole canvas, which crops need not fill.
    for field, only in (("output_stride", 32), ("norm", "frozen"), ("compute_dtype", "float32")):
        if config.model[field] != only:
            raise ValueError(
                f"config.model.{field} must be {only!r} for a refiner, got {config.model[field]!r}."
            )
    if config.num_classes != 1:
        raise ValueError(
            "config.num_classes must be 1 for a refiner, which sees no classes, got "
            f"{config.num_classes}."
        )
    canvas_side(config)
    return Refiner(
        backbone=module,
        map_scales=spec.map_scales,
        features=MaskFeatures(refine.conv_dim),
        point_head=PointHead(1, refine.point_fc_dim, refine.point_num_fcs),
        pixel_mean=pixels.mean,
        pixel_std=pixels.std,
        bgr=pixels.bgr,
        train_num_points=refine.train_num_points,
        oversample_ratio=refine.oversample_ratio,
        importance_sample_ratio=refine.importance_sample_ratio,
        subdivision_steps=refine.subdivision_steps,
        subdivision_num_points=refine.subdivision_num_points,
    )


def canvas_side(config: Config) -> int:
    """Pixels a side of the canvas of crops. Raises ValueError unless it is one square."""
    canvases = [tuple(canvas) for canvas in config.data.buckets]
    if len(canvases) != 1 or canvases[0][0] != canvases[0][1]:
        raise ValueError(
            "config.data.buckets must be one square for a refiner, as in ((192, 192),), got "
            f"{tuple(canvases)}."
        )
    return int(canvases[0][0])
