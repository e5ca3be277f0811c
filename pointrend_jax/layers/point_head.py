"""PointRend's point head as a Linen module: the arrays of `pointrend.PointMLP`."""

import flax.linen as nn
from jaxtyping import Array, Float

from pointrend_jax.pointrend import PointMLP


class PointHead(nn.Module):
    """The MLP that predicts every point from its own features, shared by points and regions (3.3).

    Attributes:
      num_classes: K, the outputs at a point.
      fc_dim, num_fcs: 3 hidden layers of 256 in the paper.
      coarse_each_layer: whether every layer sees the coarse prediction again, as in the paper;
        otherwise only the first does.
    """

    num_classes: int
    fc_dim: int = 256
    num_fcs: int = 3
    coarse_each_layer: bool = True

    def __call__(
        self,
        fine_grained_features: Float[Array, "N P C"],
        coarse_features: Float[Array, "N P Kc"],
    ) -> Float[Array, "N P K"]:
        """Logits of every class at every point."""
        mlp = self.mlp(fine_grained_features.shape[-1], coarse_features.shape[-1])
        return mlp(fine_grained_features, coarse_features)

    @nn.compact
    def mlp(self, fine_channels: int, coarse_channels: int) -> PointMLP:
        """The layers, for that many channels of fine-grained and of coarse features."""
        # 1x1 convolutions in the reference, initialised as such: MSRA, fan-out.
        hidden_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        predictor_init = nn.initializers.normal(0.001)
        again = coarse_channels if self.coarse_each_layer else 0
        layers, inputs = [], fine_channels + coarse_channels
        for layer in range(1, self.num_fcs + 1):
            layers.append(_Layer(self.fc_dim, hidden_init, name=f"fc{layer}")(inputs))
            inputs = self.fc_dim + again
        layers.append(_Layer(self.num_classes, predictor_init, name="predictor")(inputs))
        kernels, biases = ([layer[part] for layer in layers] for part in (0, 1))
        return PointMLP(kernels, biases, coarse_channels, self.coarse_each_layer)


class _Layer(nn.Module):
    """Kernel and bias of a fully connected layer, whose product is taken in parts."""

    outputs: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, inputs: int) -> tuple[Array, Array]:
        kernel = self.param("kernel", self.kernel_init, (inputs, self.outputs))
        return kernel, self.param("bias", nn.initializers.zeros_init(), (self.outputs,))
