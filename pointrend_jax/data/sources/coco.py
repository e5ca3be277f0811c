"""A COCO-format annotation file and its image folder, read and validated before any long work.

What makes the file unusable is a ValueError, of `coco_file.py` (not COCO, duplicate or unknown ids)
or here (missing images, no usable annotation); what makes one annotation unusable is counted and
reported (`annotations.py`). Images are only looked for here; preparing the set decodes each once.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pointrend_jax.coco_file import check_ids, load_coco_file
from pointrend_jax.console import tell
from pointrend_jax.data.pillow_file import MAX_PIXELS
from pointrend_jax.data.sources.annotations import CocoObject, parse_annotation
from pointrend_jax.data.sources.findings import (
    crowd_remarks,
    grouping_categories,
    name_remarks,
)
from pointrend_jax.data.sources.folders import StoredFile, find_below
from pointrend_jax.data.sources.object_set import CocoImage, CocoSet, FoundObjects
from pointrend_jax.masks.polygons import outline_box
from pointrend_jax.messages import first

# Objects that are written as shares of an image's side may reach out of it, up to this share.
_LARGEST_SHARE = 1.5


def read_coco(
    annotation_file: Path, image_dir: Path, *, may_lack_annotations: bool = False
) -> CocoSet:
    """Reads and validates a set; every image file must exist, none is opened.

    Args:
      may_lack_annotations: the file need not have any, as those of test sets.
    Raises: ValueError if the file is missing or not COCO, if ids repeat or point nowhere, if image
      files are missing or listed twice, if coordinates are no pixels, or if no annotation is
      usable.
    """
    data = load_coco_file(annotation_file, may_lack_annotations=may_lack_annotations)
    return check_coco(
        data,
        annotation_file,
        partial(image_in_folder, Path(image_dir)),
        may_lack_annotations=may_lack_annotations,
    )


def check_coco(
    data: dict[str, Any],
    annotation_file: Path,
    find_image: Callable[[str], StoredFile],
    *,
    may_lack_annotations: bool = False,
) -> CocoSet:
    """The set of a dictionary that has COCO's three lists of objects; raises as `read_coco`.

    Args:
      annotation_file: what errors call the dictionary.
      find_image: from an image's "file_name" to its file, which must exist.
    """
    images, category_names = check_ids(data, annotation_file)
    group_remarks = []
    for category in grouping_categories(data):
        group_remarks.append(
            f"category {category} ({category_names.pop(category)!r}) only groups the others and "
            "has no object: it is no class"
        )
    category_ids = tuple(sorted(category_names))
    _check_images(images.values(), annotation_file)
    files = _image_files(images, find_image)
    report: Counter = Counter()
    labels = {category_id: k for k, category_id in enumerate(category_ids)}
    objects: dict[int, list[CocoObject]] = {image_id: [] for image_id in images}
    for annotation in data["annotations"]:
        image = images[annotation["image_id"]]
        hw = (image["height"], image["width"])
        parsed = parse_annotation(annotation, hw, labels[annotation["category_id"]], report)
        if parsed is not None:
            objects[image["id"]].append(parsed)
    unlabelled = may_lack_annotations and not data["annotations"]
    if not unlabelled and all(o.is_crowd for found in objects.values() for o in found):
        raise ValueError(
            f"{annotation_file} must have at least one usable annotation that is no crowd region; "
            f"it has {len(data['annotations'])} annotations. {_format(report)}".rstrip()
        )
    _check_pixels(images, objects, annotation_file)
    checked = tuple(
        CocoImage(i, files[i], images[i]["height"], images[i]["width"], tuple(objects[i]))
        for i in sorted(images)
    )
    names = tuple(category_names[i] for i in category_ids)
    remarks = (*group_remarks, *crowd_remarks(objects.values()), *name_remarks(category_names))
    return CocoSet(checked, category_ids, names, dict(report), remarks=remarks)


def image_in_folder(image_dir: Path, file_name: str) -> StoredFile:
    """Raises: ValueError if there is no such folder; the file itself is not looked for."""
    if not image_dir.is_dir():
        raise ValueError(f"The image folder {image_dir} does not exist; check config.data.dir.")
    return find_below(image_dir, file_name)


def print_findings(found: FoundObjects) -> None:
    """Prints the counted skips and the remarks of a set; nothing if there are none."""
    for finding in (_format(found.dataset.skipped), *found.dataset.remarks):
        if finding:
            tell(f"{found.annotations}: {finding}")


def _format(skipped: Mapping[str, int]) -> str:
    if not skipped:
        return ""
    lines = [f"  {count:>6} {reason}" for reason, count in sorted(skipped.items())]
    return "annotations that were skipped or changed:\n" + "\n".join(lines)


def _check_images(images: Iterable[dict[str, Any]], annotation_file: Path) -> None:
    for image in images:
        is_named = isinstance(image.get("file_name"), str)
        if not is_named or image["height"] * image["width"] > MAX_PIXELS:
            raise ValueError(
                f'{annotation_file}: every image must have a "file_name" and at most {MAX_PIXELS} '
                f"pixels, got {str(image)[:200]}."
            )


def _image_files(
    images: dict[int, dict[str, Any]], find_image: Callable[[str], StoredFile]
) -> dict[int, StoredFile]:
    files = {i: find_image(image["file_name"]) for i, image in images.items()}
    missing = [str(file) for file in files.values() if not file.exists()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(files)} image files are missing: {first(missing)}; complete "
            "the folder or remove them from the annotation file."
        )
    _check_one_id_each(files)
    return files


def _check_one_id_each(files: dict[int, StoredFile]) -> None:
    """One image under two ids would be two images that each miss the objects of the other."""
    ids: dict[StoredFile, list[int]] = {}
    for image_id, file in files.items():
        # Links too lead to one file. Its text for messages leaves out parts of long names.
        real = file._replace(path=Path(os.path.realpath(file.path)))
        ids.setdefault(real, []).append(image_id)
    repeated = [f"{file} ({', '.join(map(str, i))})" for file, i in ids.items() if len(i) > 1]
    if repeated:
        raise ValueError(
            f"An image file must be listed under one id; {len(repeated)} have several: "
            f"{first(repeated)}. Give the annotations one of them, and remove the other entries."
        )


def _furthest(found: CocoObject) -> float:
    """The largest coordinate of an outline, or of the box of an object that has no mask."""
    return max(outline_box(found.segmentation) if found.segmentation else found.box)


def _check_pixels(
    images: dict[int, dict[str, Any]],
    objects: dict[int, list[CocoObject]],
    annotation_file: Path,
) -> None:
    """Raises ValueError if all coordinates are shares of the image instead of pixels."""
    found = [o for of_image in objects.values() for o in of_image]
    if all(
        isinstance(o.segmentation, list) and _furthest(o) <= _LARGEST_SHARE for o in found
    ) and any(
        max(images[i]["height"], images[i]["width"]) > _LARGEST_SHARE
        for i, o in objects.items()
        if o
    ):
        raise ValueError(
            f"{annotation_file}: coordinates must be pixels, but those of all {len(found)} objects "
            f"are between 0 and {_LARGEST_SHARE}; multiply x by the width and y by the height of "
            "the image."
        )
