"""Mask R-CNN's own mask head, the paper's baseline: dense convolutions at a fixed resolution."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.conv import Conv
from pointrend_jax.layers.fpn import POOLED_LEVELS, STRIDES
from pointrend_jax.layers.init import msra
from pointrend_jax.layers.labelled_points import labelled_map_loss, labelled_points
from pointrend_jax.layers.regions import MaskLogits, Regions, mask_loss
from pointrend_jax.ops.losses import LossTerm, select_class, sigmoid_cross_entropy
from pointrend_jax.ops.relu import relu
from pointrend_jax.ops.roi_align import roi_align
from pointrend_jax.pointrend import CandidatePoints
from pointrend_jax.structures import ObjectBatch

_NUM_CONVS = 4


class ConvMaskHead(nn.Module):
    """The dense baseline: ROIAlign 14x14, four convolutions, a deconvolution, a 28x28 mask.

    Attributes:
      conv_dim: channels of the convolutions.
      pooler_resolution: side of what ROIAlign gives; half of the mask's.
    """

    num_classes: int
    conv_dim: int = 256
    pooler_resolution: int = 14

    @property
    def side(self) -> int:
        """M, of the mask."""
        return 2 * self.pooler_resolution

    @property
    def coarse_side(self) -> int:
        """m: there is no other mask than the one."""
        return self.side

    @nn.compact
    def __call__(
        self, pyramid: dict[str, Array], regions: Regions, padded_hw: Int[Array, "B 2"]
    ) -> Float[Array, "N M M K"]:
        x = roi_align(
            [pyramid[level] for level in POOLED_LEVELS],
            regions.boxes,
            regions.image_index,
            strides=[STRIDES[level] for level in POOLED_LEVELS],
            output_size=self.pooler_resolution,
            padded_hw=padded_hw,
        )
        for i in range(1, _NUM_CONVS + 1):
            conv = Conv(
                self.conv_dim, (3, 3), padding=1, dtype=x.dtype, kernel_init=msra, name=f"conv{i}"
            )
            x = relu(conv(x))
        deconv = nn.ConvTranspose(
            self.conv_dim, (2, 2), strides=(2, 2), padding="VALID", dtype=x.dtype,
            kernel_init=msra, name="deconv",
        )  # fmt: skip
        x = relu(deconv(x))
        init = nn.initializers.normal(0.001)
        predictor = Conv(self.num_classes, (1, 1), kernel_init=init, name="predictor")
        return predictor(x.astype(jnp.float32))

    def draw_candidates(self, key: Array, num_regions: int) -> CandidatePoints:
        """A dense head draws nothing."""
        nothing = jnp.zeros((num_regions, 0, 2))
        return CandidatePoints(nothing, nothing)

    def losses(
        self,
        pyramid: dict[str, Array],
        regions: Regions,
        batch: ObjectBatch,
        candidates: CandidatePoints,
    ) -> dict[str, LossTerm]:
        """loss_mask at 28x28, or of its bilinear values where labelled points supervise."""
        del candidates
        own = select_class(self(pyramid, regions, batch.padded_hw), regions.classes)
        if batch.point_coords is not None:
            points = labelled_points(regions, batch)
            return {"loss_mask": labelled_map_loss(own, points, sigmoid_cross_entropy)}
        return {"loss_mask": mask_loss(own[..., 0], regions, batch)}

    def prepare(self, pyramid: dict[str, Array], num_regions: int) -> dict[str, Array]:
        """What all regions of `predict` share: the maps as they are."""
        del num_regions
        return pyramid

    def encode_regions(self, pyramid: dict[str, Array], regions: Regions) -> tuple[()]:
        """What `predict` needs of each region: nothing beforehand."""
        del pyramid, regions
        return ()

    def predict(
        self,
        pyramid: dict[str, Array],
        encoded: tuple[()],
        regions: Regions,
        padded_hw: Int[Array, "B 2"],
    ) -> MaskLogits:
        """Every region's mask."""
        del encoded
        own = select_class(self(pyramid, regions, padded_hw), regions.classes)[..., 0]
        return MaskLogits(own, own)
