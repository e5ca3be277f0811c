"""What a region's features in p2 say about it as a whole: a vector, and from it a 7x7 mask."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.devices.backend import forms
from pointrend_jax.layers.conv import Conv, ConvOfWindows
from pointrend_jax.layers.fpn import STRIDES
from pointrend_jax.layers.init import msra, xavier
from pointrend_jax.ops.points import regular_grid
from pointrend_jax.ops.relu import relu
from pointrend_jax.pointrend import point_features


class CoarseMaskHead(nn.Module):
    """A 7x7 mask from p2: one bilinear sample a cell, a 2x2 convolution, fully connected layers.

    Attributes: see `configs/base.py`, `model.mask`.
    """

    num_classes: int
    conv_dim: int = 256
    fc_dim: int = 1024
    num_fcs: int = 2
    pooler_resolution: int = 14
    resolution: int = 7

    @nn.compact
    def __call__(
        self, p2: Float[Array, "B H W C"], boxes: Float[Array, "N 4"], image_index: Int[Array, " N"]
    ) -> Float[Array, "N h h K"]:
        x = region_vectors(
            p2, boxes, image_index, conv_dim=self.conv_dim, fc_dim=self.fc_dim,
            num_fcs=self.num_fcs, pooler_resolution=self.pooler_resolution,
            conv_stride=self.pooler_resolution // self.resolution,
        )  # fmt: skip
        init = nn.initializers.normal(0.001)
        logits = self.num_classes * self.resolution**2
        predictor = nn.Dense(logits, kernel_init=init, name="predictor")
        x = predictor(x.astype(jnp.float32))
        return x.reshape(-1, self.resolution, self.resolution, self.num_classes)


def region_vectors(
    p2: Float[Array, "B H W C"],
    boxes: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    *,
    conv_dim: int,
    fc_dim: int,
    num_fcs: int,
    pooler_resolution: int,
    conv_stride: int,
) -> Float[Array, "N fc_dim"]:
    """A vector for each region, for a predictor; the layers belong to the calling module."""
    dtype = p2.dtype
    x = pool_windows(p2, boxes, image_index, pooler_resolution, conv_stride)
    if p2.shape[-1] > conv_dim:
        x = relu(Conv(conv_dim, (1, 1), dtype=dtype, kernel_init=msra, name="reduce")(x))
    window = (conv_stride, conv_stride)
    x = ConvOfWindows(
        conv_dim, window, window, "VALID", dtype=dtype, kernel_init=msra, name="conv"
    )(x)  # fmt: skip
    x = relu(x).reshape(x.shape[0], -1)
    for i in range(1, num_fcs + 1):
        x = relu(nn.Dense(fc_dim, dtype=dtype, kernel_init=xavier, name=f"fc{i}")(x))
    return x


def pool_windows(
    p2: Float[Array, "B H W C"],
    boxes: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    side: int,
    window: int,
) -> Float[Array, "N S T C"]:
    """`pool_on_grid` in windows, row by row, of T = window x window cells, row by row too; cells
    that fill none are left out."""
    across = side // window
    grid = regular_grid(side).reshape(side, side, 2)[: across * window, : across * window]
    windows = jnp.swapaxes(grid.reshape(across, window, across, window, 2), 1, 2)
    x = _pool(p2, boxes, image_index, windows.reshape(-1, 2)).astype(p2.dtype)
    if forms().adds_in_order:
        # The gradient is laid out in the few bits of the maps, before it is float32.
        x = jax.lax.optimization_barrier(x)
    return x.reshape(-1, across**2, window**2, p2.shape[-1])


def pool_on_grid(
    p2: Float[Array, "B H W C"],
    boxes: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    side: int,
) -> Float[Array, "N side side C"]:
    """One bilinear sample a cell: Detectron2's ROIAlign with sampling_ratio 1, but 0 outside."""
    x = _pool(p2, boxes, image_index, regular_grid(side))
    return x.reshape(-1, side, side, p2.shape[-1])


def _pool(
    p2: Float[Array, "B H W C"],
    boxes: Float[Array, "N 4"],
    image_index: Int[Array, " N"],
    points: Float[Array, "P 2"],
) -> Float[Array, "N P C"]:
    """p2 at the same points of every box."""
    everywhere = jnp.broadcast_to(points, (boxes.shape[0], *points.shape))
    return point_features([p2], boxes, image_index, everywhere, strides=[STRIDES["p2"]])
