"""What the fields of a config say of pixels, and what people see of an image."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from pointrend_jax.config_rules import check_config
from pointrend_jax.configs import base
from pointrend_jax.models.backbones import BACKBONES, pixel_scale
from pointrend_jax.pixel_format import PHOTO, PixelFormat, pixel_format
from pointrend_jax.structures import Config


def _config(**data: Any) -> Config:
    config: Config = base.get_config()
    config.data.update(data)
    return config


def test_the_base_configuration_and_older_ones_are_of_photos() -> None:
    config = base.get_config()
    assert pixel_format(config) == PHOTO
    fields = ("channels", "dtype", "value_range", "rgb_channels", "channel_mean", "channel_std")
    for field in fields:
        del config.data[field]
    assert pixel_format(config) == PHOTO


def test_fields_become_a_format() -> None:
    config = _config(channels=4, dtype="uint16", value_range=(0, 4095), rgb_channels=(2, 1, 0))
    assert pixel_format(config) == PixelFormat(4, "uint16", (0.0, 4095.0), (2, 1, 0))
    assert pixel_format(_config(channels=1)).rgb_channels == ()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"dtype": "uint16"}, r"config\.data\.value_range must say .* inspect"),
        ({"dtype": "float32"}, r"config\.data\.value_range must say"),
        ({"dtype": "int16"}, r'config\.data\.dtype must be "uint8" or "uint16" or "float32"'),
        ({"channels": 14}, r"config\.data\.channels must be a whole number from 1 to 13"),
        ({"value_range": (5.0, 5.0)}, r"config\.data\.value_range must be .* lower one first"),
        ({"value_range": (0.0, 256.0)}, r"value_range must lie among .* uint8, 0 to 255"),
        (
            {"dtype": "uint16", "value_range": (-1.0, 9.0)},
            r"config\.data\.value_range must lie among .* 0 to 65535",
        ),
        ({"rgb_channels": (0, 1)}, r"config\.data\.rgb_channels must be \(\) or three"),
        ({"rgb_channels": (0, 1, 1)}, r"config\.data\.rgb_channels must be \(\) or three"),
        ({"rgb_channels": (1, 2, 3)}, r"config\.data\.rgb_channels .* the 3 channels, 0 to 2"),
        ({"channel_mean": (1.0,), "channel_std": (1.0,)}, r"channel_mean .* each of the 3"),
        ({"channel_mean": (1.0, 2.0, 3.0)}, r"channel_mean is nothing without"),
        ({"channel_std": (1.0, 0.0, 1.0)}, r"config\.data\.channel_std must be .* above 0"),
    ],
)
def test_fields_that_do_not_belong_together_are_refused(data: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        check_config(_config(**data), to_train=True)


def test_photos_are_shown_as_they_are_and_others_by_their_range() -> None:
    photo = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert PHOTO.shown(photo) is photo
    image = np.array([[[0, 100, 4095, 7], [5000, 2048, 0, 7]]], np.uint16)
    pixels = PixelFormat(4, "uint16", (0.0, 4095.0), (2, 1, 0))
    # 100 / 4095 of 255 is 6.2, 2048 / 4095 is 127.5, which rounds to even.
    assert pixels.shown(image).tolist() == [[[255, 6, 0], [0, 128, 255]]]
    grey = PixelFormat(1, "float32", (-1.0, 1.0), ())
    assert grey.shown(np.array([[[-1.0], [0.2]]], np.float32)).tolist() == [[[0] * 3, [153] * 3]]


def test_an_image_is_shown_in_the_memory_of_a_part() -> None:
    image = np.zeros((2048, 512, 3), np.uint16)
    image[-1, -1] = 4095
    tracemalloc.start()
    shown = PixelFormat(3, "uint16", (0.0, 4095.0), (2, 1, 0)).shown(image)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # What is shown has 3 MiB, all of it as floats 12.
    assert most < 6 * 2**20
    assert (shown[0, 0].tolist(), shown[-1, -1].tolist()) == ([0] * 3, [255] * 3)


@pytest.mark.parametrize(
    ("dtype", "low", "black"),
    [("uint8", -3.5, 0), ("uint16", 12.4, 12), ("float32", -3.5, -3.5), ("uint8", 300.0, 255)],
)
def test_black_is_a_value_of_the_type(dtype: str, low: float, black: float) -> None:
    assert PixelFormat(1, dtype, (low, 1000.0), ()).black == black


@pytest.mark.parametrize("backbone", ["resnet50", "resnet50_torchvision", "efficientnet_lite0"])
def test_a_stated_range_brings_values_to_where_those_of_photos_are(backbone: str) -> None:
    spec = BACKBONES[backbone]
    photo = pixel_scale(base.get_config(), spec)
    assert photo == (spec.pixel_mean, spec.pixel_std, spec.bgr)
    twelve = pixel_scale(_config(dtype="uint16", value_range=(0.0, 4095.0)), spec)
    assert twelve.bgr == spec.bgr
    values = np.array([[0.0, 100.0, 255.0]]).T
    expected = (values - photo.mean) / photo.std
    found = (values * 4095 / 255 - twelve.mean) / twelve.std
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_lite0"])
def test_colours_keep_their_constants_wherever_they_are(backbone: str) -> None:
    spec = BACKBONES[backbone]
    red_green_blue = spec.pixel_mean[::-1] if spec.bgr else spec.pixel_mean
    found = pixel_scale(_config(channels=4, rgb_channels=(3, 1, 0)), spec)
    assert not found.bgr
    assert [found.mean[place] for place in (3, 1, 0)] == list(red_green_blue)
    assert found.mean[2] == pytest.approx(sum(spec.pixel_mean) / 3)


@pytest.mark.parametrize("backbone", ["resnet50", "resnext101_32x8d", "efficientnet_lite0"])
def test_statistics_of_photos_give_what_their_weights_expect(backbone: str) -> None:
    spec = BACKBONES[backbone]
    own = _config(channel_mean=(123.675, 116.28, 103.53), channel_std=(58.395, 57.12, 57.375))
    photo, measured = pixel_scale(base.get_config(), spec), pixel_scale(own, spec)
    # One factor for all channels; the mean of Lite's weights is 127 for each.
    np.testing.assert_allclose(measured.std, photo.std, rtol=0.02)
    np.testing.assert_allclose(measured.mean, photo.mean, atol=24)
