"""A COCO file of coarse masks becomes one of fine masks; what is no mask stays to the letter."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pointrend_jax.cli import main
from pointrend_jax.coco_file import check_ids
from pointrend_jax.masks.rle import encode_mask, rle_area, rle_box
from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.predict.refine_file import check_refine_job, write_refined
from tests.tiny_refiner import ellipse, photo, tiny_refiner

_POLYGON = [[22.0, 18.0, 58.0, 18.0, 58.0, 42.0, 22.0, 42.0]]


def _content() -> dict[str, Any]:
    """Two photos: a polygon, an RLE, a crowd region, a mask of another size, points without one."""
    images = [
        {"id": i, "file_name": f"{i}.png", "height": 60, "width": 80, "license": 3} for i in (4, 7)
    ]
    rle = encode_mask(ellipse())
    own: list[dict[str, Any]] = [
        {"image_id": 4, "segmentation": _POLYGON, "score": 0.5, "bbox": [22, 18, 36, 24]},
        {"image_id": 7, "segmentation": rle, "area": 1},
        {"image_id": 4, "segmentation": rle, "iscrowd": 1},
        {"image_id": 4, "segmentation": {"size": [9, 9], "counts": [0, 81]}},
        {"image_id": 7, "keypoints": [1, 2, 2]},
        {"image_id": 7, "segmentation": [[500.0, 5.0, 520.0, 5.0, 520.0, 30.0]]},
    ]
    annotations = [{"id": 10 + i, "category_id": 3} | a for i, a in enumerate(own)]
    categories = [{"id": 3, "name": "thing"}]
    return {
        "images": images,
        "annotations": annotations,
        "categories": categories,
        "info": {"a": 1},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for i in (4, 7):
        Image.fromarray(photo()).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "coarse.json").write_text(json.dumps(_content()))
    return tmp_path


def _check(folder: Path, output: str = "fine.json") -> Any:
    return check_refine_job(folder / "photos", folder / "coarse.json", folder / output)


def test_masks_are_written_in_their_own_form_with_what_changed(folder: Path) -> None:
    job = _check(folder)
    refined = write_refined(job, tiny_refiner())
    written = json.loads((folder / "fine.json").read_text())
    given = _content()
    check_ids(written, "fine.json")
    assert {k: written[k] for k in ("images", "categories", "info")} == {
        k: given[k] for k in ("images", "categories", "info")
    }
    polygon, rle, *others = written["annotations"]
    assert others == given["annotations"][2:]
    assert sorted(job.left) == [
        "left as it is: RLE size differs from the image's",
        "left as it is: crowd region",
        "left as it is: mask without a pixel in the image",
        "left as it is: no segmentation",
    ]
    by_image = dict(zip((4, 7), refined, strict=True))
    assert all(0 < mask.changed_share < 1 for mask in refined)
    assert (polygon["id"], polygon["score"], polygon["category_id"]) == (10, 0.5, 3)
    assert polygon["segmentation"] == by_image[4].polygons()
    assert rle["segmentation"] == by_image[7].rle
    assert rle["area"] == rle_area(by_image[7].rle)
    assert rle["bbox"] == rle_box(by_image[7].rle)
    changed = decode_rle(rle["segmentation"]) != ellipse()
    assert rle["refined"]["changed_pixels"] == np.count_nonzero(changed)
    assert rle["refined"]["changed_bbox"] == rle_box(encode_mask(changed))
    assert np.array_equal(decode_rle(by_image[7].changed), changed)
    assert not rle["refined"]["left_alone"]


def _save(path: Path, hw: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo(*hw)).save(path, exif=exif)


def test_a_photo_that_is_turned_fits_annotations_of_its_upright_pixels(folder: Path) -> None:
    for i in (4, 7):
        _save(folder / "photos" / f"{i}.png", (80, 60), 6)
    written = write_refined(_check(folder), tiny_refiner())
    assert [mask.rle["size"] for mask in written] == [[60, 80]] * 2


def _broken(change: Any) -> Any:
    def apply(folder: Path) -> None:
        content = _content()
        change(content)
        (folder / "coarse.json").write_text(json.dumps(content))

    return apply


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (
            lambda f: (f / "photos" / "7.png").unlink(),
            r"1 of the 2 images .* not in .*7\.png",
        ),
        (lambda f: (f / "coarse.json").write_text("[]"), "A list of results alone knows no image"),
        (lambda f: (f / "coarse.json").write_text("{"), "is not valid JSON"),
        (lambda f: (f / "coarse.json").unlink(), "cannot be read"),
        (_broken(lambda c: c["annotations"][1].update(id=10)), "annotation ids of .* 1 repeat"),
        (_broken(lambda c: c["images"][1].update(id=4)), "image ids of .* 1 repeat"),
        (_broken(lambda c: c["annotations"][1].update(image_id=5)), "unknown image_id"),
        (_broken(lambda c: c["images"][0].pop("file_name")), 'must have a "file_name"'),
        (
            _broken(lambda c: c["annotations"].__delitem__(slice(0, 2))),
            "has no mask to refine .*1 left as it is: crowd region",
        ),
        (
            lambda f: Image.fromarray(photo(50, 80)).save(f / "photos" / "4.png"),
            r"4\.png has 50 x 80 pixels .* of 60 x 80",
        ),
        (
            lambda f: Image.fromarray(photo(80, 60)).save(f / "photos" / "4.png"),
            r"4\.png has 80 x 60 pixels .* of 60 x 80; give the images",
        ),
        (
            lambda f: _save(f / "photos" / "4.png", (60, 80), 6),
            r"4\.png has 80 x 60 pixels .* of 60 x 80; its EXIF data turn it.*-Orientation=",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    folder: Path, breaks: Any, message: str
) -> None:
    breaks(folder)
    with pytest.raises(ValueError, match=message):
        _check(folder)


def test_the_file_itself_is_no_output(folder: Path) -> None:
    with pytest.raises(ValueError, match="another file than --annotations"):
        _check(folder, "coarse.json")


def test_the_command_says_how_to_train_a_refiner(folder: Path) -> None:
    flags = [f"--images={folder / 'photos'}", f"--annotations={folder / 'coarse.json'}"]
    with pytest.raises(ValueError, match="--checkpoint is missing: no refiner is published; train"):
        main(["refine", *flags, f"--output={folder / 'fine.json'}"])
