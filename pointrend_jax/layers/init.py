"""The initialisers of the reference, under its names. Source: Detectron2, fvcore weight_init."""

import flax.linen as nn

# c2_msra_fill: Kaiming normal over fan-out, for convolutions followed by a ReLU.
msra = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# c2_xavier_fill: Caffe2's Xavier, uniform over fan-in.
xavier = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
