"""Given masks in any form, of photos of any size, become sharper ones; wrong input is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pointrend_jax
from pointrend_jax.masks.rle import encode_mask
from pointrend_jax.masks.runs import decode_runs
from tests.tiny_refiner import ellipse, photo, tiny_refiner


def test_the_same_mask_in_any_form_gives_the_same(tmp_path: Path) -> None:
    mask = ellipse()
    rle = encode_mask(mask)
    uncompressed = {"size": rle["size"], "counts": decode_runs(rle["counts"])}
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    forms: list[Any] = [
        mask, mask.astype(np.uint8) * 255, mask * np.float32(0.9), rle, uncompressed,
        tmp_path / "mask.png",
    ]  # fmt: skip
    refined = tiny_refiner()(photo(), forms)
    assert len(refined) == len(forms)
    # Otherwise nothing is compared.
    assert 0 < refined[0].changed_share < 1
    assert all(one == refined[0] for one in refined)
    assert refined.boolean().shape == (len(forms), 60, 80)
    polygon = [[25, 20, 55, 20, 55, 40, 25, 40]]
    box = np.zeros((60, 80), bool)
    box[20:40, 25:55] = True
    of_polygon, of_box = tiny_refiner()(photo(), [polygon, box])
    assert of_polygon == of_box


def test_a_file_of_numbers_and_a_stack_are_several_masks(tmp_path: Path) -> None:
    one, other = ellipse(), np.zeros((60, 80), bool)
    other[2:12, 2:15] = True
    Image.fromarray((one + 7 * other).astype(np.uint8)).save(tmp_path / "numbers.png")
    of_file = tiny_refiner()(photo(), str(tmp_path / "numbers.png"))
    assert of_file == tiny_refiner()(photo(), np.stack([one, other]))
    assert len(of_file) == 2


def test_masks_beside_one_another_do_not_change_each_other() -> None:
    masks = [ellipse(at=(x, y)) for x, y in ((20, 15), (40, 30), (60, 40), (30, 44))] * 3
    together = tiny_refiner()(photo(), masks)
    for mask, refined in zip(masks[:4], together[:4], strict=True):
        assert tiny_refiner()(photo(), [mask]) == (refined,)
    assert together[4:8] == together[:4]


def test_a_large_photo_gives_what_its_part_gives() -> None:
    part, mask = photo(), ellipse()
    image, large = np.zeros((700, 900, 3), np.uint8), np.zeros((700, 900), bool)
    image[300:360, 500:580], large[300:360, 500:580] = part, mask
    (of_large,), (of_part,) = tiny_refiner()(image, [large]), tiny_refiner()(part, [mask])
    # The window of the part is cut off where the part ends, so they agree where both see the same.
    assert of_large.boolean()[:300].sum() == 0
    assert of_large.rle["size"] == [700, 900]
    image = np.pad(part, ((40, 40), (40, 40), (0, 0)))
    padded = np.pad(mask, 40)
    (of_middle,) = tiny_refiner()(image, [padded])
    np.testing.assert_array_equal(of_large.boolean()[260:400, 460:620], of_middle.boolean())
    assert of_part.changed_share > 0


def test_what_is_told_of_a_mask_is_so() -> None:
    mask = ellipse()
    (refined,) = tiny_refiner()(photo(), [mask])
    now = refined.boolean()
    assert refined.changed_pixels == (now != mask).sum()
    assert refined.changed_share == refined.changed_pixels / (now | mask).sum()
    x0, y0, x1, y1 = refined.window
    assert now.sum() == now[y0:y1, x0:x1].sum()
    # The outline as polygons is the same mask again, pixels at a slit aside.
    (again,) = tiny_refiner()(photo(), [refined.polygons()])
    assert again.rle["size"] == [60, 80]


def test_no_masks_are_none() -> None:
    assert tiny_refiner()(photo(), []) == ()


_EMPTY = np.zeros((60, 80), bool)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([np.ones((60, 81), bool)], r"mask 0 must have the image's 60 x 80 pixels .*\(60, 81\)"),
        ([ellipse(), _EMPTY], "mask 1 has no pixel in the image"),
        ([[[200, 200, 240, 200, 240, 240]]], "mask 0 has no pixel in the image"),
        ([{"size": [80, 60], "counts": [0, 4800]}], "mask 0: RLE size differs"),
        ([{"size": [60, 80], "counts": [0, 4801]}], "mask 0: RLE run lengths do not fill"),
        ([{"size": [60, 80], "counts": "no"}], "mask 0: RLE"),
        ([[[1, 2, 3, 4]]], "mask 0: polygon of fewer than three points"),
        ([{"keypoints": [1, 2, 2]}], "mask 0: RLE size differs"),
        ([None], "mask 0: no segmentation"),
        (ellipse(), "give a single mask as"),
        ([np.full((60, 80), 3.5)], "no probabilities from 0 to 1"),
        ([np.full((60, 80), "x")], "mask 0 must be of booleans"),
        (["absent.png"], "absent.png cannot be read"),
    ],
)
def test_a_wrong_mask_is_named(masks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_refiner()(photo(), masks)


def test_a_wrong_mask_file_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / "empty.png")
    Image.fromarray(np.ones((6, 8), np.uint8)).save(tmp_path / "small.png")
    for name, message in (("empty.png", "has no object"), ("small.png", "60 x 80 .*got 6 x 8")):
        with pytest.raises(ValueError, match=message):
            tiny_refiner()(photo(), [tmp_path / name])


def test_without_a_checkpoint_it_is_said_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train --config refine --data FOLDER"):
        pointrend_jax.refine(photo(), [ellipse()])
    with pytest.raises(ValueError, match=r"is no run of a refiner.*train --config refine"):
        pointrend_jax.refine(photo(), [ellipse()], checkpoint=tmp_path / "absent")
