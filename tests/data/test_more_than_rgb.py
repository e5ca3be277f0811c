"""Sets of other pixels than photos: from files to records to batches, labels and objects alike."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.cli import main
from pointrend_jax.configs import base
from pointrend_jax.data.batches.transforms import resize_image
from pointrend_jax.data.build_label_maps import build_semantic_datasets
from pointrend_jax.data.build_objects import build_datasets
from pointrend_jax.data.channel_statistics import channel_statistics, in_words
from pointrend_jax.data.images import decode_with_missing
from pointrend_jax.data.records.layout import check_same_pixels
from pointrend_jax.inspection import inspect
from pointrend_jax.pixel_format import PHOTO, PixelFormat
from pointrend_jax.structures import Config, check_shapes
from tests.data.image_files import npy, tiff
from tests.data.raster_sets import fields_config, write_fields
from tests.data.sources.coco_files import an_object, two_images


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for split, number in (("train", 3), ("val", 1)):
        write_fields(tmp_path / "fields", split, number)
    return fields_config(tmp_path / "fields", tmp_path / "cache")


def test_label_sets_of_four_bands_become_batches_and_samples(config: Config) -> None:
    config.data.color_augmentation = True
    datasets = build_semantic_datasets(config)
    batch = next(datasets.train_batches(0, 1))
    check_shapes(batch)
    assert (batch.images.shape, batch.images.dtype) == ((2, 64, 64, 4), np.uint16)
    # The infrared is no colour: none of its values is clipped to the range or shifted.
    infrared = np.stack([datasets.train_image(i)[0][..., 3] for i in range(3)])
    assert np.isin(batch.images[..., 3], infrared).all()
    (sample,) = datasets.eval_samples()
    np.testing.assert_array_equal(sample.batch.images[0], datasets.eval_truth.image(0))
    assert datasets.eval_truth.pixels.shown(datasets.eval_truth.image(0)).shape == (64, 64, 3)


def test_object_sets_of_arrays_become_batches(tmp_path: Path) -> None:
    images = [np.random.default_rng(i).random((8, 10, 2), np.float32) for i in range(2)]
    content = two_images(an_object(1), an_object(2, image_id=2))
    for entry, image in zip(content["images"], images, strict=True):
        entry["file_name"] = entry["file_name"].replace(".png", ".npy")
        (tmp_path / entry["file_name"]).write_bytes(npy(image))
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    config: Config = base.get_config()
    config.num_classes, config.train.batch_size = 2, 2
    data = config.data
    data.dir, data.cache_dir, data.train_images = str(tmp_path), str(tmp_path / "cache"), ""
    data.train_annotations, data.held_out = "annotations.json", 0.5
    data.channels, data.dtype, data.value_range = 2, "float32", (0.0, 1.0)
    data.train_min_sizes, data.eval_min_size, data.max_size = (32,), 32, 64
    data.buckets = ((32, 64),)
    datasets = build_datasets(config)
    batch = next(datasets.train_batches(0, 1))
    check_shapes(batch)
    assert (batch.images.shape[1:], batch.images.dtype) == ((32, 64, 2), np.float32)
    own, missing = datasets.train_image(0)
    assert missing is None
    assert any((own == image).all() for image in images)
    (held_out,) = datasets.eval_ground_truth["images"]
    assert datasets.eval_pixels(held_out["id"]).dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"channels": 5}, r"0\.tif must be .* got uint16 \(64, 64, 4\)"),
        ({"dtype": "float32"}, r"0\.tif must be a float32"),
        ({"value_range": ()}, r"config\.data\.value_range must say"),
        ({"rgb_channels": (), "color_augmentation": True}, r"config\.data\.color_augmentation"),
    ],
)
def test_other_pixels_than_the_config_says_are_refused(
    config: Config, changes: dict, match: str
) -> None:
    config.data.update(changes)
    with pytest.raises(ValueError, match=match):
        build_semantic_datasets(config)


def test_prepared_records_give_what_the_files_give(config: Config, tmp_path: Path) -> None:
    expected = next(build_semantic_datasets(config).train_batches(0, 1))
    main([
        "prepare", "--dataset", "camvid", "--name", "fields", "--source", config.data.dir,
        "--data-dir", str(tmp_path / "records"), "--channels", "4", "--dtype", "uint16", "--subset",
    ])  # fmt: skip
    config.data.source, config.data.dir = "tfds", str(tmp_path / "records" / "fields" / "1.0.0")
    found = next(build_semantic_datasets(config).train_batches(0, 1))
    np.testing.assert_array_equal(found.images, expected.images)
    config.data.channels, config.data.rgb_channels = 3, ()
    with pytest.raises(ValueError, match=r"4 channels of uint16, but config\.data\.channels is 3"):
        build_semantic_datasets(config)


def test_records_of_other_pixels_are_refused(tmp_path: Path) -> None:
    bands = PixelFormat(4, "uint16", (0.0, 4095.0), ())
    check_same_pixels(tmp_path, {}, PHOTO)
    check_same_pixels(tmp_path, {"pixels": {"channels": 4, "dtype": "uint16"}}, bands)
    with pytest.raises(ValueError, match=r"4 channels of uint16, but config\.data\.channels is 3"):
        check_same_pixels(tmp_path, {"pixels": {"channels": 4, "dtype": "uint16"}}, PHOTO)
    with pytest.raises(ValueError, match=r"3 channels of uint8, but config\.data\.channels is 4"):
        check_same_pixels(tmp_path, {}, bands)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_channels_are_resized_as_those_of_photos(dtype: str) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    expected = resize_image(photo, (17, 23))
    many = np.dstack([photo, photo[..., ::-1]]).astype(dtype)
    resized = resize_image(many, (17, 23))
    assert resized.dtype == dtype
    # Pillow's own rounding of bytes, twice, beside floats.
    atol = 0 if dtype == "uint8" else 1
    for part in (resized[..., :3], resized[..., :2:-1]):
        np.testing.assert_allclose(part.astype(np.float32), expected, atol=atol)


def test_statistics_are_those_of_all_pixels() -> None:
    rng = np.random.default_rng(0)
    images = [rng.normal((1e6, 3.0), (1.0, 5.0), (h, 9, 2)).astype(np.float32) for h in (4, 50)]
    images.append(np.full((3, 3, 2), (1e6, 3.0), np.float32))
    found = channel_statistics((image, None) for image in images)
    pixels = np.concatenate([image.reshape(-1, 2) for image in images]).astype(np.float64)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-9)
    assert found.low == tuple(pixels.min(axis=0))
    assert found.high == tuple(pixels.max(axis=0))


@pytest.mark.parametrize("missing_value", [0, np.nan])
def test_statistics_with_missing_values_are_those_of_the_others(
    missing_value: float, tmp_path: Path
) -> None:
    pixels = PixelFormat(2, "float32" if np.isnan(missing_value) else "uint16", (0.0, 1.0), ())
    rng = np.random.default_rng(0)
    stored = [rng.integers(1, 4096, (20, 30, 2)).astype(pixels.dtype) for _ in range(3)]
    # Half of a pixel, one channel alone, and an image without anything.
    stored[0][:10], stored[1][3:, ::2, 1], stored[2][:] = (
        missing_value,
        missing_value,
        missing_value,
    )
    files = [tiff(tmp_path / "a.tif", image, nodata=missing_value) for image in stored]
    found = channel_statistics(decode_with_missing(file, "a.tif", pixels) for file in files)
    for channel in range(2):
        values = np.concatenate([image[..., channel].ravel() for image in stored])
        there = values[np.isfinite(values) & (values != 0)].astype(np.float64)
        assert found.mean[channel] == pytest.approx(there.mean(), rel=1e-12)
        assert found.std[channel] == pytest.approx(there.std(), rel=1e-12)
        assert (found.low[channel], found.high[channel]) == (there.min(), there.max())
        assert found.missing[channel] == pytest.approx(1 - len(there) / len(values))
    assert found.most[0] >= 1
    assert "% are missing and not counted" in in_words(found, total=3)[1]


def test_a_channel_that_is_missing_in_all_images_is_named() -> None:
    missing = np.zeros((4, 4, 3), bool)
    missing[..., 1:] = True
    images = [(np.zeros((4, 4, 3), np.uint16), missing)] * 2
    with pytest.raises(ValueError, match=r"channel 1, 2 is missing .* all 2 images .*nodata"):
        channel_statistics(images)


def test_inspect_tells_what_is_missing(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(config.data.dir)
    image = np.full((64, 64, 4), 500, np.uint16)
    image[:32] = 0
    for n in range(3):
        tiff(root / f"images/train/{n}.tif", image, nodata=0)
    inspect(config, tmp_path / "look")
    printed = capsys.readouterr().out
    assert "channel 0: mean 500, deviation 0, from 500 to 500" in printed
    assert "50.0% are missing" in printed
    assert "is black to a network" in printed


def test_what_inspect_measures_can_be_pasted(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.data.value_range = ()
    inspect(config, tmp_path / "look")
    printed = capsys.readouterr().out
    assert "pixels of 3 training images:" in printed
    assert "channel 3: mean" in printed
    assert "missing" not in printed
    lines = [line.strip() for line in printed.splitlines() if line.strip().startswith("config.")]
    assert len(lines) == 3
    for line in lines:
        exec(line, {"config": config})
    means = build_semantic_datasets(config).train_image(0)[0].mean(axis=(0, 1))
    np.testing.assert_allclose(config.data.channel_mean, means, rtol=0.2)
    low, high = list(config.data.value_range)
    assert 0 < low < high < 4095
    # Pictures of what was measured are neither black nor white.
    page = np.asarray(Image.open(tmp_path / "look" / "training.png").convert("L"))
    assert 30 < np.median(page) < 225


def test_colours_are_not_changed_within_a_range_that_nobody_stated(
    config: Config, tmp_path: Path
) -> None:
    config.data.value_range = ()
    pages = []
    for augmented in (False, True):
        config.data.color_augmentation = augmented
        inspect(config, tmp_path / str(augmented))
        pages.append(np.asarray(Image.open(tmp_path / str(augmented) / "training.png")))
    np.testing.assert_array_equal(*pages)


def test_of_each_image_at_most_as_many_values_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, quantile = [], np.quantile

    def recorded(values: np.ndarray, shares: tuple[float, float]) -> np.ndarray:
        sizes.append((values.size, values.dtype))
        return quantile(values, shares)

    monkeypatch.setattr(np, "quantile", recorded)
    channel_statistics([(np.ones((199, 100, 1), np.uint16), None)])
    assert sizes == [(9950, np.float32)]


def test_a_channel_that_tells_nothing_is_named() -> None:
    lines = in_words(channel_statistics([(np.full((2, 2, 1), 7, np.uint8), None)]), total=1)
    assert "the same everywhere" in lines[1]
    assert lines[-1].strip() == "config.data.channel_std = (1,)"
