"""The masks of a COCO file, refined and written as another one with the same ids.

Only what changed is written anew: its segmentation (polygons stay polygons, RLE stays RLE), box and
area. What is no mask, or a crowd region, stays to the letter, and is counted by reason.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from pointrend_jax.coco_file import check_ids, load_coco_file
from pointrend_jax.console import watched
from pointrend_jax.data.images import encoded_hw, photo_hw, read_bytes, read_image
from pointrend_jax.data.sources.annotations import checked_segmentation
from pointrend_jax.masks.rle import rle_area, rle_box
from pointrend_jax.messages import first
from pointrend_jax.predict.given_masks import Waiting, drawn
from pointrend_jax.predict.refiner import MaskRefiner
from pointrend_jax.results.refined import RefinedMask
from pointrend_jax.storage import check_workdir, write_whole

_CROWD = "left as it is: crowd region"
_EMPTY = "left as it is: mask without a pixel in the image"


class RefineJob(NamedTuple):
    """A checked file.

    Attributes:
      content: of the annotation file.
      files: of each image that has masks, by its id.
      masks: of each image, the places of its annotations in the file and their masks.
      left: annotations that stay as they are, by reason.
      output: the file to write.
    """

    content: dict[str, Any]
    files: dict[int, Path]
    masks: dict[int, list[tuple[int, Waiting]]]
    left: dict[str, int]
    output: Path


def check_refine_job(images: Path, annotations: Path, output: Path) -> RefineJob:
    """What `write_refined` does, known to be possible.

    Raises: ValueError for what is no COCO file, a missing image or one of another size, no mask, or
      an output that cannot be written or is the file itself.
    """
    if output.resolve() == annotations.resolve():
        raise ValueError(f"--output must be another file than --annotations, got {output}.")
    check_workdir(output.resolve().parent, "the folder of --output")
    content = _annotated(annotations)
    entries, _ = check_ids(content, annotations)
    left: Counter = Counter()
    masks: dict[int, list[tuple[int, Waiting]]] = {}
    for place, annotation in enumerate(content["annotations"]):
        entry = entries[annotation["image_id"]]
        mask = _mask(annotation, (entry["height"], entry["width"]), left)
        if mask is not None:
            masks.setdefault(entry["id"], []).append((place, mask))
    if not masks:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left.items()))
        raise ValueError(f"{annotations} has no mask to refine ({reasons or 'no annotation'}).")
    files = {i: _file(images, entries[i], annotations) for i in masks}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(files)} images of {annotations} that have masks are not "
            f"in --images {images}: {first(missing)}."
        )
    for image_id, file in files.items():
        _check_size(file, entries[image_id])
    return RefineJob(content, files, masks, dict(left), output)


def write_refined(job: RefineJob, refiner: MaskRefiner) -> list[RefinedMask]:
    """Refines the masks, image by image, and writes the file.

    Returns: every mask, in no order. Raises: ValueError for an image that cannot be read.
    """
    annotations = list(job.content["annotations"])
    refined = []
    for image_id, masks in watched(job.masks.items(), "refining"):
        pixels = read_image(job.files[image_id])
        of_image = refiner.stream(pixels, [mask for _, mask in masks])
        for (place, _), mask in zip(masks, of_image, strict=True):
            annotations[place] = _written(annotations[place], mask)
            refined.append(mask)
    content = job.content | {"annotations": annotations}
    write_whole(job.output, json.dumps(content).encode())
    return refined


def _annotated(annotations: Path) -> dict[str, Any]:
    try:
        return load_coco_file(annotations)
    except ValueError as error:
        if "is not in COCO format" not in str(error):
            raise
        raise ValueError(
            f"{error} A list of results alone knows no image files: put it in such an object with "
            "the images and categories of its set."
        ) from error


def _file(folder: Path, entry: dict[str, Any], source: Path) -> Path:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f'{source}: every image must have a "file_name", got {str(entry)[:200]}.')
    return folder / name


def _mask(annotation: dict[str, Any], hw: tuple[int, int], left: Counter) -> Waiting | None:
    if annotation.get("iscrowd"):
        left[_CROWD] += 1
        return None
    try:
        mask = checked_segmentation(annotation.get("segmentation"), hw)
    except ValueError as error:
        left[f"left as it is: {error}"] += 1
        return None
    if isinstance(mask, list) and not drawn(mask, hw).any():
        left[_EMPTY] += 1
        return None
    return mask


def _check_size(file: Path, entry: dict[str, Any]) -> None:
    """Raises ValueError for a photo that has not the annotations' size as it is seen, upright."""
    data, known = read_bytes(file), (entry["height"], entry["width"])
    found = photo_hw(data, str(file))
    if found == known:
        return
    advice = "give the images that the masks were made of"
    if known == encoded_hw(data, str(file)):
        advice = (
            "its EXIF data turn it, and the masks were drawn before that: remove the orientation "
            "from its EXIF data (exiftool -Orientation= FILE), or turn the masks"
        )
    raise ValueError(
        f"{file} has {found[0]} x {found[1]} pixels (height x width) as it is seen, its "
        f"annotations are of {known[0]} x {known[1]}; {advice}."
    )


def _written(annotation: dict[str, Any], mask: RefinedMask) -> dict[str, Any]:
    changed_pixels = mask.changed_pixels
    told = {
        "refined": {
            "changed_pixels": changed_pixels,
            "changed_share": mask.changed_share,
            "changed_bbox": rle_box(mask.changed) if changed_pixels else None,
            "left_alone": mask.left_alone,
        }
    }
    if not changed_pixels:
        return annotation | told
    was_rle = isinstance(annotation["segmentation"], dict)
    now = {
        "segmentation": mask.rle if was_rle else mask.polygons(),
        "bbox": rle_box(mask.rle),
        "area": rle_area(mask.rle),
    }
    return annotation | now | told
