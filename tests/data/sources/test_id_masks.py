"""Photos with an image of numbered objects each: every number is an object, of one class."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.sources.id_masks import read_id_masks
from pointrend_jax.masks.runs import decode_rle
from tests.data.label_sets import save_png


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two photos of 6 x 8; objects 1 and 2 on the first, none on the second."""
    ids = np.zeros((6, 8), np.uint8)
    ids[1:3, 1:5], ids[4:6, 6:8] = 1, 2
    for name, numbers in (("a", ids), ("b", np.zeros((6, 8), np.uint8))):
        (tmp_path / "PNGImages").mkdir(exist_ok=True)
        (tmp_path / "PedMasks").mkdir(exist_ok=True)
        Image.new("RGB", (8, 6)).save(tmp_path / "PNGImages" / f"{name}.png")
        save_png(tmp_path / "PedMasks" / f"{name}_mask.png", numbers)
    return tmp_path


def _read(root: Path, names: tuple[str, ...] = ("person",)) -> Any:
    return read_id_masks(root, "PedMasks", "PNGImages", names, root / "cache")


def test_every_number_is_an_object(root: Path):
    found = _read(root)
    first, second = found.dataset.images
    assert found.dataset.class_names == ("person",)
    assert (first.file.name, first.height, first.width) == ("a.png", 6, 8)
    assert [o.bbox for o in first.objects] == [(1, 1, 4, 2), (6, 4, 2, 2)]
    assert [o.area for o in first.objects] == [8, 4]
    mask = decode_rle(first.objects[1].segmentation)
    assert np.argwhere(mask).tolist() == [[4, 6], [4, 7], [5, 6], [5, 7]]
    assert second.objects == ()


def test_the_annotation_file_is_made_once_for_the_same_content(root: Path):
    one = _read(root).annotations
    assert _read(root).annotations == one
    assert _read(root, ()).annotations != one
    assert _read(root, ()).dataset.class_names == ("object",)


_FAULTS = [
    ("photo alone", lambda r: (r / "PedMasks/b_mask.png").unlink(), r"1 photos .*b\.png \(0\)"),
    (
        "numbers alone",
        lambda r: (r / "PNGImages/b.png").unlink(),
        r"1 belong to no photo .*b_mask\.png",
    ),
    (
        "two images",
        lambda r: save_png(r / "PedMasks/a.png", np.zeros((6, 8), np.uint8)),
        r"\(2: a\.png, a_mask\.png\)",
    ),
    (
        "one name, two formats",
        lambda r: Image.new("L", (8, 6)).save(r / "PedMasks/a_mask.bmp"),
        r"a\.png \(2: a_mask\.bmp, a_mask\.png\)",
    ),
    (
        "lossy",
        lambda r: (
            (r / "PedMasks/a_mask.png").unlink()
            or Image.new("L", (8, 6), 255).save(r / "PedMasks/a_mask.jpg")
        ),
        r"a_mask\.jpg is stored as JPEG",
    ),
    (
        "colours",
        lambda r: save_png(r / "PedMasks/a_mask.png", np.zeros((6, 8, 3), np.uint8)),
        "one channel of ids",
    ),
    (
        "no photos",
        lambda r: [f.unlink() for f in (r / "PNGImages").iterdir()],
        "PNGImages has no image",
    ),
    (
        "no object",
        lambda r: (r / "PedMasks/a_mask.png").write_bytes((r / "PedMasks/b_mask.png").read_bytes()),
        "at least one usable annotation",
    ),
]


@pytest.mark.parametrize(
    ("damage", "message"), [f[1:] for f in _FAULTS], ids=[f[0] for f in _FAULTS]
)
def test_what_is_wrong_with_the_files_is_said(
    root: Path, damage: Callable[[Path], object], message: str
):
    damage(root)
    with pytest.raises(ValueError, match=message):
        _read(root)


def test_several_names_are_refused(root: Path):
    with pytest.raises(ValueError, match=r"of one class, so .* one name at most"):
        _read(root, ("person", "dog"))
