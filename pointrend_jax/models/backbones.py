"""The backbones by name: how each is made, and what belongs to its weights."""

from collections.abc import Callable
from typing import NamedTuple

from pointrend_jax.layers.efficientnet_lite import EfficientNetLite
from pointrend_jax.layers.norm import BatchNorm, BatchNormLayer, FrozenBatchNorm
from pointrend_jax.layers.parts import Backbone, check_module
from pointrend_jax.layers.resnet import ResNet
from pointrend_jax.pixel_format import PHOTO, pixel_format
from pointrend_jax.registry import Registry
from pointrend_jax.structures import Config


class BackboneSpec(NamedTuple):
    """What belongs to a backbone and its weights.

    Attributes:
      make: from its options to the module.
      pixel_mean: of the pixels that the weights expect, of 0 to 255, in the order of the channels
        that `bgr` says; so too `pixel_std`.
      map_scales: what brings res2..res5 to a deviation near 1, as the FPN's initialisation expects.
    """

    make: Callable[["BackboneOptions"], Backbone]
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    bgr: bool
    map_scales: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)


# Red, green and blue of ImageNet's photos, 0 to 255. Source: torchvision's transforms.
_PHOTO_STD = (58.395, 57.120, 57.375)

_MSRA_PIXELS = ((103.530, 116.280, 123.675), (1.0, 1.0, 1.0), True)
_TORCHVISION_PIXELS = ((123.675, 116.280, 103.530), (58.395, 57.120, 57.375), False)
_LITE_PIXELS = ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0), False)

_BUILT_IN = {
    "resnet18": BackboneSpec(lambda options: _resnet(18, options), *_MSRA_PIXELS),
    "resnet34": BackboneSpec(lambda options: _resnet(34, options), *_MSRA_PIXELS),
    "resnet50": BackboneSpec(lambda options: _resnet(50, options), *_MSRA_PIXELS),
    "resnet101": BackboneSpec(lambda options: _resnet(101, options), *_MSRA_PIXELS),
    "resnext101_32x8d": BackboneSpec(
        lambda options: _resnet(101, options, stride_in_1x1=False, groups=32, width_per_group=8),
        (103.530, 116.280, 123.675),
        (57.375, 57.120, 58.395),
        bgr=True,
    ),
    "resnet18_torchvision": BackboneSpec(
        lambda options: _resnet(18, options), *_TORCHVISION_PIXELS
    ),
    "resnet34_torchvision": BackboneSpec(
        lambda options: _resnet(34, options), *_TORCHVISION_PIXELS
    ),
    "resnet50_torchvision": BackboneSpec(
        lambda options: _resnet(50, options, stride_in_1x1=False), *_TORCHVISION_PIXELS
    ),
    "resnet101_torchvision": BackboneSpec(
        lambda options: _resnet(101, options, stride_in_1x1=False), *_TORCHVISION_PIXELS
    ),
    # DeepLab's: a deep stem, in RGB.
    "resnet103": BackboneSpec(
        lambda options: _resnet(101, options, stride_in_1x1=False, deep_stem=True),
        *_TORCHVISION_PIXELS,
    ),
    # Their maps are linear projections, no ReLUs: deviations of 8.8, 7.8, 6.0 and 2.5 on photos for
    # Lite0; on other photos (where Lite0 has 8.5, 7.4, 6.3 and 2.9) 9.7, 8.7, 7.0 and 2.8 for Lite1
    # and 9.7, 8.3, 6.9 and 2.7 for Lite2. Left so, the first steps of training at the usual rates
    # kill the ReLUs of the RPN and the box head.
    "efficientnet_lite0": BackboneSpec(
        lambda options: _lite(0, options),
        *_LITE_PIXELS,
        map_scales=(1 / 8, 1 / 8, 1 / 6, 2 / 5),
    ),
    "efficientnet_lite1": BackboneSpec(
        lambda options: _lite(1, options),
        *_LITE_PIXELS,
        map_scales=(1 / 10, 1 / 9, 1 / 7, 3 / 8),
    ),
    "efficientnet_lite2": BackboneSpec(
        lambda options: _lite(2, options),
        *_LITE_PIXELS,
        map_scales=(1 / 10, 1 / 8, 1 / 7, 3 / 8),
    ),
}
BACKBONES: Registry[BackboneSpec] = Registry("config.model.backbone", _BUILT_IN)


class PixelScale(NamedTuple):
    """What brings the values of images to what weights expect, by channel.

    Attributes:
      mean, std: in the values of the images, and the order of channels that `bgr` says.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool


def pixel_scale(config: Config, spec: BackboneSpec) -> PixelScale:
    """That of the images of `config.data` for the weights of a backbone.

    With statistics of each channel, channels get the mean and the deviation that photos of ImageNet
    have for these weights. Without, black and white of the images become 0 and 255 of a photo, and
    a channel that is no colour is taken for a grey one.
    """
    pixels, data = pixel_format(config), config.data
    bgr = spec.bgr and pixels.is_rgb
    mean, std = data.get("channel_mean", ()), data.get("channel_std", ())
    if mean:
        colours = _PHOTO_STD[::-1] if spec.bgr else _PHOTO_STD
        usual = sum(of / own for of, own in zip(colours, spec.pixel_std, strict=True)) / 3
        order = slice(None, None, -1) if bgr else slice(None)
        return PixelScale(
            tuple(float(value) for value in mean)[order],
            tuple(float(value) / usual for value in std)[order],
            bgr,
        )
    if pixels == PHOTO:
        return PixelScale(spec.pixel_mean, spec.pixel_std, spec.bgr)
    low, high = pixels.value_range
    unit = (high - low) / 255
    of_colours = list(zip(spec.pixel_mean, spec.pixel_std, strict=True))
    if spec.bgr:
        of_colours.reverse()
    grey = tuple(sum(values) / 3 for values in zip(*of_colours, strict=True))
    chosen = [grey] * pixels.channels
    for colour, place in zip(of_colours, pixels.rgb_channels, strict=False):
        chosen[place] = colour
    if bgr:
        chosen.reverse()
    means = tuple(low + m * unit for m, _ in chosen)
    return PixelScale(means, tuple(s * unit for _, s in chosen), bgr)


class BackboneOptions(NamedTuple):
    """What an experiment chooses of a backbone; see `configs/base.py`, `model` and `train`."""

    freeze_at: int
    output_stride: int
    multi_grid: tuple[int, ...]
    norm: BatchNormLayer
    remat: bool

    def strides(self) -> tuple[int, int, int, int]:
        """Input pixels a cell of res2..res5."""
        s2, s3, s4, s5 = (min(stride, self.output_stride) for stride in (4, 8, 16, 32))
        return s2, s3, s4, s5


def backbone_options(config: Config) -> BackboneOptions:
    """Those of `config.model`. Raises ValueError, naming the field, for a wrong value."""
    model = config.model
    if model.output_stride not in (8, 16, 32):
        raise ValueError(
            f"config.model.output_stride must be 8, 16 or 32, got {model.output_stride}."
        )
    if model.norm not in _NORMS:
        raise ValueError(f"config.model.norm must be one of {list(_NORMS)}, got {model.norm!r}.")
    grid = tuple(model.multi_grid)
    may_dilate = model.backbone.startswith("resnet") or BACKBONES.is_own(model.backbone)
    dilates = may_dilate and model.output_stride < 32
    if grid != (1, 1, 1) and not dilates:
        raise ValueError(
            "config.model.multi_grid may be another than (1, 1, 1) only for a ResNet of "
            f"config.model.output_stride 16 or 8; got {grid}."
        )
    norm = _NORMS[model.norm]
    return BackboneOptions(model.freeze_at, model.output_stride, grid, norm, config.train.remat)


class BuiltBackbone(NamedTuple):
    """A backbone, what belongs to it, what an experiment chose of it, and what images become."""

    module: Backbone
    spec: BackboneSpec
    options: BackboneOptions
    pixels: PixelScale


def build_backbone(config: Config) -> BuiltBackbone:
    """That of `config.model`. Raises ValueError, naming the field, for a wrong value."""
    name = config.model.backbone
    spec, options = BACKBONES[name], backbone_options(config)
    module = spec.make(options)
    check_module(module, Backbone, f"config.model.backbone {name!r}")
    return BuiltBackbone(module, spec, options, pixel_scale(config, spec))


_NORMS: dict[str, BatchNormLayer] = {"frozen": FrozenBatchNorm, "batch_norm": BatchNorm}


def _resnet(
    depth: int,
    options: BackboneOptions,
    *,
    stride_in_1x1: bool = True,
    groups: int = 1,
    width_per_group: int = 64,
    deep_stem: bool = False,
) -> ResNet:
    return ResNet(
        depth,
        options.freeze_at,
        stride_in_1x1=stride_in_1x1,
        groups=groups,
        width_per_group=width_per_group,
        output_stride=options.output_stride,
        multi_grid=options.multi_grid,
        deep_stem=deep_stem,
        norm=options.norm,
        remat=options.remat,
    )


def _lite(variant: int, options: BackboneOptions) -> EfficientNetLite:
    return EfficientNetLite(
        variant,
        options.freeze_at,
        output_stride=options.output_stride,
        norm=options.norm,
        remat=options.remat,
    )
