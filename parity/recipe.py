"""The parity kit's seeded numbers: arrays that any machine can make again from a name.

Every array is `loc + scale * noise`, computed in float64 and rounded once to float32. The noise is
a splitmix64 stream that starts at the CRC-32 of "<tag>/<name>". Written from the kit's description
of its recipe; no code of a kit is ever run.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

_MASK = (1 << 64) - 1
# Rows are made in pieces of so many elements, so that a large array needs little more than itself.
_PIECE = 1 << 22


def uniform(tag: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 in [0, 1): the upper 24 bits of each word."""
    words = _words(tag, name, 0, int(np.prod(shape, dtype=np.int64)))
    return ((words >> np.uint64(40)) * 2.0**-24).astype(np.float32).reshape(shape)


def permutation(tag: str, name: str, length: int) -> np.ndarray:
    """The stable order of `length` uniform numbers."""
    return np.argsort(uniform(tag, name, (length,)), kind="stable")


def normal(
    tag: str,
    name: str,
    shape: tuple[int, ...],
    *,
    loc: float = 0.0,
    scale: float = 1.0,
    center: bool = False,
) -> np.ndarray:
    """Nearly normal numbers: the sum of the four 16-bit parts of each word, at variance 1.

    Args:
      center: takes its mean from each row (the first axis).
    """
    size = int(np.prod(shape, dtype=np.int64))
    width = size // shape[0] if center else 1
    out = np.empty(size, np.float32)
    deviation = np.sqrt((65536.0**2 - 1.0) / 3.0)
    step = max(_PIECE // width, 1) * width
    for first in range(0, size, step):
        words = _words(tag, name, first, min(step, size - first))
        parts = words.view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64) - 2 * 65535
        noise = parts.astype(np.float64)
        if center:
            rows = noise.reshape(-1, width)
            noise = (rows - (rows.sum(axis=1) / width)[:, None]).reshape(-1)
        out[first : first + step] = loc + scale * (noise / deviation)
    return out.reshape(shape)


def parameters(manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every parameter and buffer of a manifest, by Detectron2 name.

    Raises: ValueError if an array's checksum differs from the manifest's, or a kind is unknown.
    """
    arrays = {entry["name"]: _parameter(manifest["tag"], entry) for entry in manifest["params"]}
    for name, expected in manifest["crc32"].items():
        if zlib.crc32(arrays[name].tobytes()) != expected:
            raise ValueError(f"the recipe does not give the kit's {name}: the checksums differ.")
    return arrays


def _parameter(tag: str, entry: Mapping[str, Any]) -> np.ndarray:
    name, shape = entry["name"], tuple(entry["shape"])
    loc, scale = entry["loc"], entry["scale"]
    if entry["noise"] == "zero":
        return np.zeros(shape, entry["dtype"])
    if entry["noise"] == "uniform":
        return (loc + scale * uniform(tag, name, shape).astype(np.float64)).astype(entry["dtype"])
    if entry["noise"] == "normal":
        return normal(tag, name, shape, loc=loc, scale=scale, center=entry["center"])
    raise ValueError(f"the kit's {name} has the unknown noise {entry['noise']!r}.")


def _words(tag: str, name: str, first: int, number: int) -> np.ndarray:
    """Words first .. first + number - 1 of the stream of "<tag>/<name>"."""
    start = (zlib.crc32(f"{tag}/{name}".encode()) * 0xD1342543DE82EF95) & _MASK
    words = np.arange(first + 1, first + number + 1, dtype=np.uint64)
    words *= np.uint64(0x9E3779B97F4A7C15)
    words += np.uint64(start)
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
