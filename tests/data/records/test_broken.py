"""Records that cannot be read: named, counted, replaced, and an error if they are many."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.data.batches.evaluation import eval_samples
from pointrend_jax.data.batches.objects import train_batches
from pointrend_jax.data.batches.train_plan import Augmentation, TrainPlan
from pointrend_jax.data.records.broken import BrokenRecords, BrokenRecordsError
from pointrend_jax.data.records.layout import ImageFacts
from pointrend_jax.data.records.objects import PreparedSet
from tests.data.object_sets import prepare


class _Planned(NamedTuple):
    record: int


_FACTS = [ImageFacts(100 + i, f"{i}.png", 8, 8, ()) for i in range(10)]


def _read(planned: _Planned) -> int:
    if planned.record in (1, 2, 3):
        raise OSError(f"bad block under {planned.record}")
    return planned.record


def test_the_next_image_of_the_batch_takes_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    broken = BrokenRecords(_FACTS, 0.3)
    batch = [_Planned(i) for i in (0, 1, 2, 5)]
    assert [broken.load(batch, i, _read) for i in range(4)] == [0, 5, 5, 5]
    # At the end of the batch it begins again.
    assert broken.load([_Planned(4), _Planned(3)], 1, _read) == 4
    said = capsys.readouterr().out
    assert "record 1 (image 101, 1.png) cannot be read: bad block under 1" in said
    # Each is told once.
    assert said.count("record 2 ") == 1
    assert "3 of 10 records are broken so far, 3 may be" in said


def test_more_than_the_share_are_an_error() -> None:
    broken = BrokenRecords(_FACTS, 0.2)
    batch = [_Planned(i) for i in (1, 2, 5)]
    assert broken.load(batch, 0, _read) == 5
    with pytest.raises(BrokenRecordsError, match=r"record 3 .*\n3 of 10 records are broken, and 2"):
        broken.load([_Planned(3), _Planned(5)], 0, _read)


def test_a_batch_without_a_whole_image_is_an_error() -> None:
    with pytest.raises(BrokenRecordsError, match="none of the images"):
        BrokenRecords(_FACTS, 0.5).load([_Planned(1), _Planned(2)], 0, _read)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_impossible_share_is_an_error(share: float) -> None:
    with pytest.raises(ValueError, match="max_broken_share"):
        BrokenRecords(_FACTS, share)


def _prepared(folder: Path) -> PreparedSet:
    """Eight images; image n is filled with n + 1 (and noise beside it, so that bytes matter)."""
    images, annotations = [], []
    for n in range(8):
        pixels = np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8)
        pixels[:32] = n + 1
        Image.fromarray(pixels).save(folder / f"{n}.png")
        images.append({"id": n, "file_name": f"{n}.png", "height": 64, "width": 64})
        annotations.append(
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [4, 4, 16, 8], "area": 128.0}
            | {"iscrowd": 0, "segmentation": [[4.0, 4.0, 20.0, 4.0, 20.0, 12.0]]}
        )
    content = {"images": images, "annotations": annotations}
    path = folder / "all.json"
    path.write_text(json.dumps(content | {"categories": [{"id": 1, "name": "box"}]}))
    return prepare(path, folder, folder / "cache")


def _damage(folder: Path, record: int, prepared: PreparedSet) -> None:
    """Flips a bit of the image of a record in the record file."""
    (file,) = (folder / "cache").rglob("*array_record*")
    content = bytearray(file.read_bytes())
    # The record files are compressed in places, encoded images are not.
    piece = prepared.source[record]["image"][2000:2040]
    content[content.index(piece)] ^= 1
    file.write_bytes(content)


def test_training_goes_on_past_a_damaged_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = _prepared(tmp_path)
    _damage(tmp_path, 3, prepared)
    choices = Augmentation(min_sizes=(64,), max_size=64, flip_probability=0.0, buckets=((64, 64),))
    plan = TrainPlan([(64, 64)] * 8, range(8), choices, batch_size=4, seed=0)

    def epoch(share: float) -> list[list[int]]:
        batches = train_batches(prepared, plan, num_threads=2, max_broken_share=share)
        return [(next(batches).images[:, 0, 0, 0] - 1).tolist() for _ in range(2)]

    seen = epoch(0.2)
    planned = [[image.record for image in plan[i].images] for i in range(2)]
    for found, expected in zip(seen, planned, strict=True):
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert one == (expected[(place + 1) % 4] if other == 3 else other)
    assert "record 3 (image 3, 3.png) cannot be read" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"1 of 8 records are broken, and 0 may be"):
        epoch(0.1)


def test_an_evaluation_leaves_no_image_out(tmp_path: Path) -> None:
    prepared = _prepared(tmp_path)
    _damage(tmp_path, 3, prepared)
    samples = eval_samples(prepared, min_size=64, max_size=64, buckets=((64, 64),), batch_size=1)
    with pytest.raises(ValueError, match=r"image 3 \(3\.png\) cannot.*evaluation"):
        list(samples)
