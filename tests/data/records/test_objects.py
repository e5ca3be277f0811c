"""Preparing record files: once, whole or not at all, and with a word on what is wrong."""

import io
import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.batches.evaluation import eval_samples
from pointrend_jax.data.batches.objects import read_record
from pointrend_jax.data.records import objects as builder
from pointrend_jax.data.records.objects import (
    ground_truth,
    object_records,
    prepare_objects,
)
from pointrend_jax.data.records.write import write_records
from tests.data.object_sets import find, prepare


def _write_set(folder: Path, hw: tuple[int, int] = (8, 10)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "b.png"):
        noise = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    sizes = {"height": hw[0], "width": hw[1]}
    polygon = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 8, "width": 10},
            {"id": 2, "file_name": "b.png", **sizes},
        ],
        "categories": [{"id": 1, "name": "box"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 4, 4], "area": 16.0}
            | {"iscrowd": 0, "segmentation": [polygon]}
        ],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def test_records_hold_the_original_bytes_in_order(tmp_path: Path):
    prepared = prepare(_write_set(tmp_path / "set"), tmp_path / "set", tmp_path / "cache")
    assert len(prepared.source) == 2
    for i, name in enumerate(("a.png", "b.png")):
        assert prepared.source[i]["image"] == (tmp_path / "set" / name).read_bytes()


def test_prepared_set_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = _write_set(tmp_path / "set")
    prepare(path, tmp_path / "set", tmp_path / "cache")

    def refuse(*_: object) -> None:
        raise AssertionError("prepared again")

    monkeypatch.setattr(builder, "decode_image", refuse)
    assert len(prepare(path, tmp_path / "set", tmp_path / "cache").source) == 2


def test_changed_image_is_prepared_anew(tmp_path: Path):
    path = _write_set(tmp_path / "set")
    before = prepare(path, tmp_path / "set", tmp_path / "cache").source[1]["image"]
    Image.new("RGB", (10, 8)).save(tmp_path / "set" / "b.png")
    after = prepare(path, tmp_path / "set", tmp_path / "cache").source[1]["image"]
    assert after == (tmp_path / "set" / "b.png").read_bytes() != before


def test_truncated_image_is_named_and_leaves_no_half_set(tmp_path: Path):
    path = _write_set(tmp_path / "set")
    whole = (tmp_path / "set" / "b.png").read_bytes()
    (tmp_path / "set" / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"b\.png is truncated or damaged"):
        prepare(path, tmp_path / "set", tmp_path / "cache")
    # Once the file is restored, the set is prepared as if nothing had been.
    (tmp_path / "set" / "b.png").write_bytes(whole)
    assert len(prepare(path, tmp_path / "set", tmp_path / "cache").source) == 2


def test_image_of_another_size_is_named(tmp_path: Path):
    path = _write_set(tmp_path / "set", hw=(10, 8))
    with pytest.raises(ValueError, match=r"b\.png.*8 x 10.*10 x 8"):
        prepare(path, tmp_path / "set", tmp_path / "cache")


def _encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def _rotated() -> bytes:
    """An image whose EXIF data turn 8 x 10 (height x width) into 10 x 8."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _encoded(Image.new("RGB", (10, 8), (9, 9, 9)), exif=exif)


# (what is odd, the file, (height, width) of its annotation)
_ODD_IMAGES = [
    ("grayscale", _encoded(Image.new("L", (10, 8))), (8, 10)),
    ("RGBA", _encoded(Image.new("RGBA", (10, 8))), (8, 10)),
    ("CMYK", _encoded(Image.new("CMYK", (10, 8)), "JPEG"), (8, 10)),
    ("16-bit", _encoded(Image.fromarray(np.full((8, 10), 40_000, np.uint16))), (8, 10)),
    ("EXIF-rotated", _rotated(), (10, 8)),
    ("1x1", _encoded(Image.new("RGB", (1, 1))), (1, 1)),
    ("10,000 wide", _encoded(Image.new("RGB", (10_000, 3))), (3, 10_000)),
]


@pytest.mark.parametrize(
    ("data", "hw"), [c[1:] for c in _ODD_IMAGES], ids=[c[0] for c in _ODD_IMAGES]
)
def test_odd_image_goes_all_the_way(data: bytes, hw: tuple[int, int], tmp_path: Path):
    path = _write_set(tmp_path / "set", hw=hw)
    (tmp_path / "set" / "b.png").write_bytes(data)
    prepared = prepare(path, tmp_path / "set", tmp_path / "cache")
    image, objects = read_record(prepared, 1)
    assert image.shape == (*hw, 3)
    assert len(objects.boxes) == 0
    samples = eval_samples(prepared, min_size=32, max_size=64, buckets=((64, 64),), batch_size=2)
    assert next(samples).original_hw == ((8, 10), hw)


def test_annotated_size_before_the_exif_rotation_is_named(tmp_path: Path):
    path = _write_set(tmp_path / "set", hw=(8, 10))
    (tmp_path / "set" / "b.png").write_bytes(_rotated())
    with pytest.raises(ValueError, match=r"b\.png has 10 x 8 pixels.*EXIF.*8 x 10"):
        prepare(path, tmp_path / "set", tmp_path / "cache")


def test_full_disk_is_an_error_and_leaves_no_half_set(tmp_path: Path):
    path = _write_set(tmp_path / "set")
    noise = np.random.default_rng(0).integers(0, 256, (8, 10_000, 3), np.uint8)
    path.write_text(path.read_text().replace('"width": 10', '"width": 10000'))
    for name in ("a.png", "b.png"):
        Image.fromarray(noise).save(tmp_path / "set" / name)
    # A write beyond this size fails as on a full disk, also for root.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ValueError, match=r"cannot be written.*config\.data\.cache_dir"):
            prepare(path, tmp_path / "set", tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(prepare(path, tmp_path / "set", tmp_path / "cache").source) == 2


def test_cache_that_cannot_be_written_is_an_error(tmp_path: Path):
    path = _write_set(tmp_path / "set")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"cannot be written.*config\.data\.cache_dir"):
        prepare(path, tmp_path / "set", tmp_path / "file" / "cache")


def test_ground_truth_is_what_the_annotation_file_says(tmp_path: Path):
    path = _write_set(tmp_path / "set")
    content = json.loads(path.read_text())
    crowd = content["annotations"][0] | {"id": 41, "image_id": 2, "iscrowd": 1}
    # Numbers that 32 bits do not hold.
    crowd |= {"area": 16.1, "bbox": [2.1, 2.3, 4.7, 4.9]}
    content["annotations"].append(crowd)
    path.write_text(json.dumps(content))
    truth = ground_truth(prepare(path, tmp_path / "set", tmp_path / "cache"))
    assert truth["images"] == content["images"]
    assert truth["categories"] == content["categories"]
    assert truth["annotations"] == content["annotations"]


def test_records_of_a_federated_set_have_its_lists(tmp_path: Path):
    path = _write_set(tmp_path / "set")
    found = find(path, tmp_path / "set")
    one, other = found.dataset.images
    federated = found.dataset._replace(
        images=(
            one._replace(not_exhaustive_category_ids=(1,)),
            other._replace(neg_category_ids=(1,)),
        ),
        frequencies=("r",),
    )
    truth = ground_truth(prepare_objects(found._replace(dataset=federated), tmp_path / "cache"))
    assert [i["neg_category_ids"] for i in truth["images"]] == [[], [1]]
    assert [i["not_exhaustive_category_ids"] for i in truth["images"]] == [[1], []]
    assert truth["categories"] == [{"id": 1, "name": "box", "frequency": "r"}]


def test_the_same_file_read_otherwise_is_another_set(tmp_path: Path):
    path = _write_set(tmp_path / "set")
    found = find(path, tmp_path / "set")
    plain = prepare_objects(found, tmp_path / "cache")
    read_otherwise = found._replace(dataset=found.dataset._replace(frequencies=("r",)))
    federated = prepare_objects(read_otherwise, tmp_path / "cache")
    assert (plain.frequencies, federated.frequencies) == ((), ("r",))


def test_renumbered_images_are_another_set(tmp_path: Path):
    found = find(_write_set(tmp_path / "set"), tmp_path / "set")
    images = tuple(image._replace(id=image.id + 100) for image in found.dataset.images)
    renumbered = found._replace(dataset=found.dataset._replace(images=images))
    write_records(object_records("one", {"train": found}), tmp_path / "records")
    with pytest.raises(ValueError, match="another state of the set"):
        write_records(object_records("one", {"train": renumbered}), tmp_path / "records")


def test_an_image_whose_name_is_no_utf8_is_prepared(tmp_path: Path):
    path = _write_set(tmp_path / "set")
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "set" / "b.png").rename(tmp_path / "set" / name)
    path.write_text(path.read_text().replace("b.png", json.dumps(name)[1:-1]))
    prepared = prepare(path, tmp_path / "set", tmp_path / "cache")
    assert prepared.images[1].name == "caf\\udce9.png"
    assert prepared.source[1]["image"] == (tmp_path / "set" / name).read_bytes()
    assert len(prepare(path, tmp_path / "set", tmp_path / "cache").source) == 2
