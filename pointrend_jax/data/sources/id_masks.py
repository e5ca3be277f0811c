"""Photos with an image of numbered objects each, as Penn-Fudan is published: objects of one class.

PNGImages/FudanPed00001.png
PedMasks/FudanPed00001_mask.png    0 is no object, 1, 2, 3, ... are the objects
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pointrend_jax.coco_file import load_coco_file
from pointrend_jax.data.checked import checked
from pointrend_jax.data.images import decode_map
from pointrend_jax.data.sources.annotation_cache import write_once
from pointrend_jax.data.sources.coco import check_coco
from pointrend_jax.data.sources.folders import Files, StoredFile, folder_files
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.masks.rle import encode_mask, rle_area, rle_box
from pointrend_jax.messages import first
from pointrend_jax.storage import content_key

# Part of the key: raise it when the annotation file changes.
_FORMAT = 1
# What ends the name of an image of numbers, beside that of its photo.
_ENDS = ("", "_mask", "_masks", "_instances")
_PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_CLASS = "object"


class _Pair(NamedTuple):
    photo: str
    ids: StoredFile


def read_id_masks(
    root: Path, masks: str, images: str, class_names: tuple[str, ...], cache_dir: Path
) -> FoundObjects:
    """The objects of every photo; the annotation file is made once.

    Args:
      masks, images: folders of `root`.
      class_names: the name of the class; () for "object".
    Raises: ValueError if a photo has no image of numbers or the other way round, if one of these is
      damaged or has colours, or if the cache cannot be written.
    """
    if len(class_names) > 1:
        raise ValueError(
            "numbered objects are of one class, so config.data.class_names must have one name at "
            f"most, got {list(class_names)}."
        )
    name = class_names[0] if class_names else _CLASS
    photos = _photos(root, images)
    pairs = _pairs(photos, _photos(root, masks), root / masks)
    parts = (f"{pair.photo} {pair.ids.fingerprint()}\n" for pair in pairs)
    key = content_key([str(_FORMAT), f"{name}\n", *parts])
    annotations = cache_dir / f"numbered-objects-{key}.json"
    if not annotations.is_file():
        write_once(annotations, lambda: _coco_dictionary(pairs, name))
    dataset = check_coco(load_coco_file(annotations), annotations, photos.__getitem__)
    return FoundObjects(dataset, annotations)


def _photos(root: Path, folder: str) -> Files:
    """Images by their path below `folder`."""
    files = folder_files(root / folder)
    found = {n: f for n, f in files.items() if n.lower().endswith(_PHOTOS) and f.name[0] != "."}
    if not found:
        raise ValueError(f"the folder {root / folder} has no image; check config.data.dir.")
    return found


def _pairs(photos: Files, masks: Files, folder: Path) -> list[_Pair]:
    by_stem: dict[str, list[StoredFile]] = {}
    for name, file in masks.items():
        by_stem.setdefault(name.rsplit(".", 1)[0], []).append(file)
    pairs, missing = [], []
    for photo in photos:
        stem = photo.rsplit(".", 1)[0]
        found = [file for end in _ENDS for file in by_stem.pop(stem + end, ())]
        if len(found) == 1:
            pairs.append(_Pair(photo, found[0]))
        else:
            names = ", ".join(file.name for file in found)
            missing.append(f"{photo} ({len(found)}{names and f': {names}'})")
    if missing or by_stem:
        lonely = [str(file) for files in by_stem.values() for file in files]
        raise ValueError(
            f"every photo must have one image of numbers in {folder}, called as the photo or with "
            f"{', '.join(_ENDS[1:])} behind; {len(missing)} photos have another number of them "
            f"({first(missing)}), and {len(lonely)} belong to no photo ({first(lonely)})."
        )
    return pairs


def _coco_dictionary(pairs: list[_Pair], name: str) -> dict[str, Any]:
    images, annotations = [], []
    for index, (hw, objects) in checked(pairs, _objects):
        image = {"id": index + 1, "file_name": pairs[index].photo}
        images.append(image | {"height": hw[0], "width": hw[1]})
        annotations += [{"image_id": index + 1} | found for found in objects]
    return {
        "images": images,
        "categories": [{"id": 1, "name": name}],
        "annotations": [{"id": n} | found for n, found in enumerate(annotations, 1)],
    }


def _objects(pair: _Pair) -> tuple[tuple[int, int], list[dict[str, Any]]] | str:
    """(height, width) and objects of a photo, or what is wrong with its image of numbers."""
    try:
        ids = decode_map(pair.ids.read_bytes(), str(pair.ids))
    except ValueError as error:
        return str(error)
    # In the order in which run lengths are counted, or every mask would be turned.
    by_column = np.asfortranarray(ids)
    objects = []
    for value in np.unique(ids[ids != 0]).tolist():
        rle = encode_mask(by_column == value)
        found: dict[str, Any] = {"category_id": 1, "iscrowd": 0, "segmentation": rle}
        objects.append(found | {"bbox": rle_box(rle), "area": int(rle_area(rle))})
    return (ids.shape[0], ids.shape[1]), objects
