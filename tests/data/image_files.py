"""Images of other pixels than photos have, as files; for tests."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from rasterio.transform import from_origin

# 10 m a pixel, in zone 33 north.
PLACE = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}


def npy(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, image)
    return buffer.getvalue()


def png(image: np.ndarray) -> bytes:
    """Of 1, 3 (RGB) or 4 (RGBA) channels of 8 or 16 bits."""
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[image.shape[2]]
    return cv2.imencode(".png", np.ascontiguousarray(image[..., order]))[1].tobytes()


def tiff(path: Path, image: np.ndarray, **options: Any) -> bytes:
    """Writes it too."""
    height, width, channels = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=channels, dtype=image.dtype,
        **options,
    ) as file:  # fmt: skip
        file.write(np.moveaxis(image, 2, 0))
    return path.read_bytes()
