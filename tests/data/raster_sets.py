"""A set of fields seen in four bands, as GeoTIFF with label images; for tests."""

from pathlib import Path

import numpy as np

from pointrend_jax.configs import base
from pointrend_jax.structures import Config
from tests.data.image_files import PLACE, tiff
from tests.data.label_sets import blocks, save_png

BLUE, GREEN, RED, INFRARED = 300, 500, 400, 800


def fields(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """uint16 [H, W, 4], blue, green, red and near infrared: class 1 is bright in the last one."""
    noise = np.random.default_rng(seed).normal(0, 20, (*labels.shape, 4))
    means = np.where(labels[..., None] == 1, (BLUE, GREEN, RED, 4 * INFRARED), INFRARED)
    return np.clip(means + noise, 1, 4095).astype(np.uint16)


def write_fields(root: Path, split: str, number: int, hw: tuple[int, int] = (64, 64)) -> None:
    """GeoTIFF files with their label images and the list of a split, in CamVid's layout."""
    lines = []
    for n in range(number):
        labels = blocks(hw, n, side=16)
        image, label = f"images/{split}/{n}.tif", f"labels/{split}/{n}.png"
        save_png(root / label, labels)
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        tiff(root / image, fields(labels, n), **PLACE)
        lines.append(f"{image} {label}\n")
    (root / f"{split}.txt").write_text("".join(lines))
    (root / "classes.json").write_text(
        '{"classes": [{"id": 0, "name": "soil"}, {"id": 1, "name": "crop"}], "void": 255}'
    )


def fields_config(root: Path, cache: Path) -> Config:
    """Training on such a set."""
    config: Config = base.get_config()
    config.task, config.num_classes, config.train.batch_size = "semantic", 2, 2
    data = config.data
    data.source, data.dir, data.cache_dir = "camvid", str(root), str(cache)
    data.channels, data.dtype, data.value_range = 4, "uint16", (0.0, 4095.0)
    data.rgb_channels = (2, 1, 0)
    data.train_min_sizes, data.crop_hw, data.buckets = (64,), (64, 64), ((64, 64),)
    data.eval_min_size = data.max_size = 64
    config.eval.batch_size = 2
    return config
