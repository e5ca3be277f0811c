"""Semantic segmentation, SemanticFPN or DeepLab, with PointRend or without: pixels to logits.

The parts come ready-made (`models/build_semantic.py` makes them); here is their order, once for
training (`losses`) and once for inference (`predict`).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.fpn import FPN
from pointrend_jax.layers.padding import zero_beyond
from pointrend_jax.layers.parts import Backbone, SemanticHead, check_logits, check_maps
from pointrend_jax.layers.pixels import normalise
from pointrend_jax.layers.semantic_point_head import SemanticPointRend
from pointrend_jax.ops.losses import LossTerm, cross_entropy, hard_pixel_cross_entropy
from pointrend_jax.ops.resize import upsample_by
from pointrend_jax.pointrend import CandidatePoints, RenderStep
from pointrend_jax.structures import (
    IGNORE_LABEL,
    ImageBatch,
    SemanticBatch,
    SemanticPredictions,
)


class SemanticSegmentor(nn.Module):
    """See the module docstring.

    Attributes:
      backbone, coarse_head: see `layers/parts.py`.
      num_classes: K.
      backbone_strides: of those maps. map_scales: what brings them to a deviation near 1.
      fpn: None for a coarse head that reads the backbone.
      point_head: None for the coarse prediction alone.
      pixel_mean, pixel_std, bgr: what makes of images, whose channels these count, what the
        backbone's weights expect.
      compute_dtype: of the maps, and so of the layers that read them.
      hard_pixel_fraction: the coarse loss is the mean over this fraction of the pixels, those of
        highest loss; None for the mean over all labelled ones.
    """

    num_classes: int
    backbone: Backbone
    backbone_strides: tuple[int, int, int, int]
    map_scales: tuple[float, float, float, float]
    fpn: FPN | None
    coarse_head: SemanticHead
    point_head: SemanticPointRend | None
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    bgr: bool
    compute_dtype: jnp.dtype
    hard_pixel_fraction: float | None = None
    coarse_loss_weight: float = 1.0

    def maps(self, images: Array, image_hw: Array, padded_hw: Array) -> dict[str, Array]:
        """res2..res5, and p2..p6 if there is an FPN, of images; 0 beyond `padded_hw`."""
        pixels = normalise(images, image_hw, self.pixel_mean, self.pixel_std, bgr=self.bgr)
        pixels = pixels.astype(self.compute_dtype)
        maps = self.backbone(pixels, padded_hw)
        check_maps(maps, pixels, self.backbone_strides, self.backbone)
        pyramid = {} if self.fpn is None else self.fpn(maps, padded_hw)
        each = zip(sorted(maps), self.map_scales, self.backbone_strides, strict=True)
        scaled = {name: zero_beyond(maps[name] * by, padded_hw, s) for name, by, s in each}
        return scaled | pyramid

    def coarse(
        self,
        maps: dict[str, Array],
        padded_hw: Int[Array, "B 2"],
        dropout_keys: Array | None = None,
    ) -> Float[Array, "B h w K"]:
        """The coarse head's logits, zero beyond `padded_hw`.

        Args:
          dropout_keys: [B], of a training step; None for no dropout.
        """
        logits = self.coarse_head(maps, padded_hw, dropout_keys)
        return zero_beyond(logits, padded_hw, self.coarse_head.stride)

    def _coarse_of(
        self,
        maps: dict[str, Array],
        batch: ImageBatch | SemanticBatch,
        dropout_keys: Array | None = None,
    ) -> Float[Array, "B h w K"]:
        """`coarse` of a batch; raises ValueError for logits of another shape than there must be."""
        logits, head = self.coarse(maps, batch.padded_hw, dropout_keys), self.coarse_head
        batch_size, height, width = batch.images.shape[:3]
        cells = height // head.stride, width // head.stride
        check_logits(logits, (batch_size, *cells, self.num_classes), head, "logits [B, h, w, K]")
        return logits

    # --- training ---

    def draw_noise(self, keys: Array) -> CandidatePoints | None:
        """The random points of a step, from one key an image."""
        if self.point_head is None:
            return None
        candidates = jax.vmap(self.point_head.draw_candidates)(keys)
        return jax.tree.map(lambda x: x[:, 0], candidates)

    def losses(
        self,
        batch: SemanticBatch,
        candidates: CandidatePoints | None,
        dropout_keys: Array | None = None,
    ) -> dict[str, LossTerm]:
        """All losses of the batch as (sum, denominator), by name; `dropout_keys` as in `coarse`."""
        maps = self.maps(batch.images, batch.image_hw, batch.padded_hw)
        coarse_logits = self._coarse_of(maps, batch, dropout_keys)
        losses = {"loss_sem_seg": self._coarse_loss(coarse_logits, batch)}
        if self.point_head is not None and candidates is not None:
            losses |= self.point_head.losses(maps, coarse_logits, batch, candidates)
        return losses

    def _coarse_loss(self, coarse_logits: Array, batch: SemanticBatch) -> LossTerm:
        logits = self._upsample(coarse_logits, batch.padded_hw)
        labels = batch.labels.astype(jnp.int32)
        valid = labels != IGNORE_LABEL
        if self.hard_pixel_fraction is None:
            loss = cross_entropy(logits, labels, valid)
        else:
            loss = hard_pixel_cross_entropy(
                logits, labels, valid, fraction=self.hard_pixel_fraction
            )
        return LossTerm(loss.total * self.coarse_loss_weight, loss.denominator)

    def _upsample(self, coarse_logits: Array, padded_hw: Array) -> Float[Array, "B H W K"]:
        stride = self.coarse_head.stride
        return upsample_by(coarse_logits, stride, padded_hw // stride)

    # --- inference ---

    def predict(self, batch: ImageBatch) -> SemanticPredictions:
        """Logits of every class, at the resolution of the network's input and coarse."""
        return self.predict_scene(batch)[0]

    def predict_scene(self, batch: ImageBatch) -> tuple[SemanticPredictions, dict[str, Array]]:
        """`predict`, and the maps of its points, of which `render_windows` renders more."""
        maps = self.maps(batch.images, batch.image_hw, batch.padded_hw)
        coarse_logits = self._coarse_of(maps, batch)
        if self.point_head is None:
            logits = self._upsample(coarse_logits, batch.padded_hw)
        else:
            logits = self.point_head.predict(maps, coarse_logits, batch.images, batch.padded_hw)
            rendered = batch.images.shape[1] // logits.shape[1]
            logits = upsample_by(logits, rendered, batch.padded_hw // rendered)
        fine = () if self.point_head is None else self.point_head.fine_maps
        return SemanticPredictions(logits, coarse_logits), {name: maps[name] for name in fine}

    def explain(self, batch: ImageBatch) -> list[RenderStep]:
        """Every rendering step. Raises ValueError if the model renders nothing."""
        point_head = self._rendering_head()
        maps = self.maps(batch.images, batch.image_hw, batch.padded_hw)
        coarse_logits = self._coarse_of(maps, batch)
        return point_head.explain(maps, coarse_logits, batch.images, batch.padded_hw)

    def render_windows(
        self,
        maps: dict[str, Array],
        predictions: SemanticPredictions,
        batch: ImageBatch,
        windows: Float[Array, "B 4"],
        hw: tuple[int, int],
        steps: int,
    ) -> list[RenderStep]:
        """Every rendering step of a window of each image; see `SemanticPointRend.render_windows`.

        Raises: ValueError if the model renders nothing.
        """
        point_head = self._rendering_head()
        return point_head.render_windows(maps, predictions, batch, windows, hw=hw, steps=steps)

    def _rendering_head(self) -> SemanticPointRend:
        if self.point_head is None:
            raise ValueError(
                "only a model with PointRend has subdivision steps to explain and windows to "
                "render; this one has model.semantic.pointrend=False."
            )
        return self.point_head
