"""Feature Pyramid Network (Lin et al., 2017): res2..res5 to p2..p6 with one number of channels."""

import flax.linen as nn
from jaxtyping import Array, Float, Int

from pointrend_jax.layers.conv import Conv
from pointrend_jax.layers.init import xavier
from pointrend_jax.layers.padding import zero_beyond
from pointrend_jax.ops.resize import upsample_nearest_2x

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
# The levels that boxes are pooled from; p6 is for proposals alone.
POOLED_LEVELS = ("p2", "p3", "p4", "p5")


class FPN(nn.Module):
    """Lateral 1x1 convolutions, a top-down path of nearest x2, 3x3 output convolutions.

    Attributes:
      input_scales: factors of res2..res5; the initialisation expects maps of a deviation near 1.
    """

    channels: int = 256
    input_scales: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    @nn.compact
    def __call__(self, maps: dict[str, Array], padded_hw: Int[Array, "B 2"]) -> dict[str, Array]:
        """p2..p6, each zero beyond `padded_hw`; p6 is every second cell of p5."""
        pyramid: dict[str, Array] = {}
        top_down = None
        for level in (5, 4, 3, 2):
            x = maps[f"res{level}"] * self.input_scales[level - 2]
            x = Conv(
                self.channels, (1, 1), dtype=x.dtype, kernel_init=xavier, name=f"lateral{level}"
            )(x)
            # Sums before the output convolution travel down, not its results.
            if top_down is not None:
                x = x + upsample_nearest_2x(top_down)
            # What a backbone leaves beyond the image may be anything.
            top_down = zero_beyond(x, padded_hw, 2**level)
            output = Conv(
                self.channels, (3, 3), padding=1, dtype=x.dtype, kernel_init=xavier,
                name=f"output{level}",
            )  # fmt: skip
            pyramid[f"p{level}"] = zero_beyond(output(top_down), padded_hw, 2**level)
        pyramid["p6"] = coarsest_level(pyramid["p5"])
        return {name: pyramid[name] for name in STRIDES}


def coarsest_level(p5: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """p6: every second cell of p5 (a max-pool of kernel 1 and stride 2 in the reference)."""
    return p5[:, ::2, ::2]
