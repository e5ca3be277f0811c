"""Fine-grained features of a photo and a mask that somebody gave of an object on it.

The backbone saw the photo alone. Here its maps meet the mask, at strides 8, 4 and 2: what the
object looks like inside the mask and what lies around it, so that the point head can tell on which
side of the true outline a point is. Near the outline that is asked of colours and of the finest map
too, by `likeness`, of which nothing has to be learned.

What the maps have on either side of the given outline, averaged, tells how the mask was made and
how far it is off: whether the outline follows edges, is rounded, has corners. A number says the
distance, and every point sees the averages.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.conv import Conv
from pointrend_jax.layers.init import msra
from pointrend_jax.layers.norm import GroupNorm
from pointrend_jax.layers.padding import inside_padded, zero_beyond
from pointrend_jax.ops.relu import relu
from pointrend_jax.ops.resize import upsample_2x

# Input pixels a cell of the means of the mask.
PYRAMID_STRIDES = (1, 4, 8, 16, 32)
# Of the maps that points read.
FINE_STRIDES = (2, 4, 8)
_GROUPS = 8
# Rates of the convolutions at stride 8: together they see 15 cells, of 24 that a canvas of 192 has.
_DILATIONS = (1, 2, 4)


def mask_pyramid(given: Float[Array, "B H W 1"]) -> list[Array]:
    """The mask, and its means over cells of 4 to 32 pixels."""
    return [_mean(given, stride) for stride in PYRAMID_STRIDES]


def start_logits(pyramid: list[Array], step: int) -> Float[Array, "B h w 1"]:
    """Logits that the given mask stands for, in place of a coarse prediction.

    Their sign is the mask's, and they grow with the distance from its outline: half comes from the
    mask there, half from its means over larger and larger cells.

    Args:
      step: input pixels a cell, a power of 2 up to 32.
    """
    levels = [_mean(pyramid[0], step)]
    for level, stride in zip(pyramid[1:], PYRAMID_STRIDES[1:], strict=True):
        fitted = _mean(level, step // stride) if stride < step else level
        for _ in range((max(stride // step, 1)).bit_length() - 1):
            fitted = upsample_2x(fitted)
        levels.append(fitted)
    return logits_of_means(jnp.concatenate(levels, axis=-1))


def logits_of_means(means: Float[Array, "*S 5"]) -> Float[Array, "*S 1"]:
    """The logits of `start_logits` from the mask and its means at the same places."""
    own, all_of = means[..., :1], jnp.mean(means, axis=-1, keepdims=True)
    return 3.0 * (2.0 * own - 1.0) + 3.0 * (2.0 * all_of - 1.0)


def _mean(x: Float[Array, "B H W C"], step: int) -> Float[Array, "B h w C"]:
    if step == 1:
        return x
    batch, height, width, channels = x.shape
    cells = x.reshape(batch, height // step, step, width // step, step, channels)
    return jnp.mean(cells, axis=(2, 4))


def likeness(
    x: Float[Array, "B h w C"],
    mask: Float[Array, "B h w 1"],
    padded_hw: Int[Array, "B 2"],
    *,
    stride: int,
) -> Float[Array, "B h w C"]:
    """Whether each channel looks as it does inside the mask nearby (1) or outside of it (-1).

    The difference of the squared distances from the means on both sides, in their variance, between
    -1 and 1; means are of about 48 pixels of the input a side, and of the whole photo where a side
    has no pixel there.

    Args:
      mask: its share of each cell. stride: input pixels a cell, a power of 2 below 16.
    """
    inside = inside_padded(x.shape[1], x.shape[2], padded_hw, stride)[..., None]
    own, beside = jnp.where(inside, mask, 0.0), jnp.where(inside, 1.0 - mask, 0.0)
    (mean, variance), (other, its_variance) = (_nearby(x, w, stride) for w in (own, beside))
    apart = (x - other) ** 2 - (x - mean) ** 2
    return jnp.tanh(apart / (variance + its_variance + 0.2))


def _nearby(x: Array, weights: Array, stride: int) -> tuple[Array, Array]:
    """Mean and variance of the cells around each, by weights."""
    moments = jnp.concatenate([x, x * x], axis=-1)
    anywhere = _weighted_mean(moments, weights)
    sums = _mean(jnp.concatenate([moments * weights, weights], axis=-1), 16 // stride)
    sums = nn.avg_pool(sums, (3, 3), padding="SAME")
    found = (sums[..., :-1] + 0.02 * anywhere) / (sums[..., -1:] + 0.02)
    for _ in range((16 // stride).bit_length() - 1):
        found = upsample_2x(found)
    mean, squared = jnp.split(found, 2, axis=-1)
    return mean, jnp.maximum(squared - mean * mean, 0.0)


class MaskFeatures(nn.Module):
    """Maps at `FINE_STRIDES`, what the given outline looks like, and its error.

    Attributes:
      dim: channels at stride 8; two thirds of it at stride 4, a third at 2 and of the outline.
    """

    dim: int

    @nn.compact
    def __call__(
        self,
        pixels: Float[Array, "B H W 3"],
        maps: Mapping[str, Array],
        pyramid: list[Array],
        padded_hw: Int[Array, "B 2"],
    ) -> tuple[list[Array], Float[Array, "B C"], Float[Array, " B"]]:
        """Maps of 1/3, 2/3 and all of `dim` channels, finest first; the outline; the error's logit.

        Args:
          pixels: normalised. maps: res2 to res5, of deviation near 1.
          pyramid: of the given mask.
        """
        at_8 = self._at_8(maps, pyramid, padded_hw)
        at_4 = self._at_4(maps["res2"], at_8, pyramid[1], padded_hw)
        at_2 = self._at_2(pixels, at_4, pyramid[0], padded_hw)
        fine = [at_2, at_4, at_8]
        outline = self._outline(fine, pyramid, padded_hw)
        return fine, outline, nn.Dense(1, name="error")(outline)[:, 0]

    def _at_8(
        self, maps: Mapping[str, Array], pyramid: list[Array], padded_hw: Array
    ) -> Float[Array, "B h w C"]:
        x = self._project(maps["res5"], self.dim, "res5")
        for name, coarser in (("res4", 32), ("res3", 16)):
            x = upsample_2x(x, padded_hw // coarser) + self._project(maps[name], self.dim, name)
        x = relu(x)
        mask = pyramid[2]
        inside = inside_padded(x.shape[1], x.shape[2], padded_hw, 8)[..., None]
        beside = jnp.where(inside, 1.0 - mask, 0.0)
        # What sets the object apart from what is around it, cell by cell.
        contrast = x * (_weighted_mean(x, mask) - _weighted_mean(x, beside))
        wider = upsample_2x(pyramid[3]), upsample_2x(upsample_2x(pyramid[4]))
        x = jnp.concatenate([x, contrast, mask, *wider], axis=-1)
        for i, dilation in enumerate(_DILATIONS):
            y = self._conv(x, self.dim, padded_hw, 8, f"at8_{i}", dilation)
            x = y if i == 0 else x + y
        return x

    def _at_4(
        self, res2: Array, at_8: Array, mask: Array, padded_hw: Array
    ) -> Float[Array, "B h w C"]:
        dim = 2 * self.dim // 3
        x = self._project(res2, dim, "res2")
        x = x + upsample_2x(self._project(at_8, dim, "from8"), padded_hw // 8)
        like = likeness(res2, mask, padded_hw, stride=4)
        x = jnp.concatenate([relu(x), mask, like], axis=-1)
        for i in range(2):
            x = self._conv(x, dim, padded_hw, 4, f"at4_{i}")
        return x

    def _at_2(
        self, pixels: Array, at_4: Array, mask: Array, padded_hw: Array
    ) -> Float[Array, "B h w C"]:
        dim = self.dim // 3
        pixels = zero_beyond(pixels, padded_hw, 1)
        x = jnp.concatenate([pixels, mask], axis=-1)
        x = Conv(dim, (2, 2), (2, 2), padding="VALID", kernel_init=msra, name="pixels")(x)
        x = x + upsample_2x(self._project(at_4, dim, "from4"), padded_hw // 4)
        like = likeness(_mean(pixels, 2), _mean(mask, 2), padded_hw, stride=2)
        x = x + self._project(like, dim, "like")
        x = relu(x)
        for i in range(2):
            x = self._conv(x, dim, padded_hw, 2, f"at2_{i}")
        return x

    def _outline(
        self, fine: list[Array], pyramid: list[Array], padded_hw: Array
    ) -> Float[Array, "B C"]:
        """From the cells of every map within and beyond the given outline."""
        masks = [_mean(pyramid[0], 2), *pyramid[1:3]]
        means = []
        for x, mask, coarser, stride in zip(fine, masks, pyramid[1:4], FINE_STRIDES, strict=True):
            # Blended from cells of twice the size: an outline between two cells counts too.
            share = upsample_2x(coarser, padded_hw // (2 * stride))
            inside = inside_padded(x.shape[1], x.shape[2], padded_hw, stride)[..., None]
            around = jnp.where(inside, share * (1.0 - share), 0.0)
            sides = mask * around, (1.0 - mask) * around
            means += [_weighted_mean(x, side)[:, 0, 0] for side in sides]
        x = nn.LayerNorm(name="outline_norm")(jnp.concatenate(means, axis=-1))
        for i, dim in enumerate((self.dim, self.dim // 3)):
            x = nn.Dense(dim, use_bias=False, kernel_init=msra, name=f"outline{i}")(x)
            # Without it a large step could silence all of them at once.
            x = relu(nn.LayerNorm(name=f"outline{i}_norm")(x))
        return x

    def _project(self, x: Array, dim: int, name: str) -> Array:
        return Conv(dim, (1, 1), kernel_init=msra, name=name)(x)

    def _conv(
        self, x: Array, dim: int, padded_hw: Array, stride: int, name: str, dilation: int = 1
    ) -> Array:
        x = zero_beyond(x, padded_hw, stride)
        x = Conv(
            dim, (3, 3), kernel_dilation=dilation, use_bias=False, kernel_init=msra, name=name
        )(x)
        return relu(GroupNorm(_GROUPS, name=f"{name}_norm")(x, padded_hw, stride))


def _weighted_mean(
    x: Float[Array, "B h w C"], weights: Float[Array, "B h w 1"]
) -> Float[Array, "B 1 1 C"]:
    total = jnp.sum(x * weights, axis=(1, 2), keepdims=True)
    return total / (jnp.sum(weights, axis=(1, 2), keepdims=True) + 1e-3)
