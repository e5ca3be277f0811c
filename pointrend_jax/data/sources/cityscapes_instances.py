"""The objects of Cityscapes as a COCO-format set, from its instance id maps.

The masks are those that Cityscapes scores against. Detectron2 trains on the polygons instead,
moved outwards by half a pixel and cut where others lie in front; a mask says that without the
detour and without losing what a polygon cannot hold. Groups ("cargroup") become crowd regions.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from pointrend_jax.cityscapes_labels import INSTANCES, LABEL_IDS, is_single_object, labels_of
from pointrend_jax.coco_file import load_coco_file
from pointrend_jax.data.checked import checked
from pointrend_jax.data.images import decode_map
from pointrend_jax.data.sources.annotation_cache import write_once
from pointrend_jax.data.sources.cityscapes import Frame, find_frames
from pointrend_jax.data.sources.coco import check_coco
from pointrend_jax.data.sources.folders import StoredFile
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.masks.rle import encode_mask, rle_area, rle_box
from pointrend_jax.storage import content_key

# Part of the key: raise it when the annotation file changes.
_FORMAT = 1


def read_cityscapes_objects(root: Path, split: str, cache_dir: Path) -> FoundObjects:
    """The objects of the 8 classes that tell them apart; the annotation file is made once.

    Category ids are Cityscapes' label ids; images are numbered from 1 by name. The instance id maps
    have known ids only.

    Args:
      split: "train" or "val".
    Raises: ValueError for missing files (see `find_frames`), for instance id maps that are damaged
      or have unknown ids, or if the cache cannot be written.
    """
    frames = find_frames(root, split)
    parts = (f"{frame.path} {frame.instance_ids.fingerprint()}\n" for frame in frames)
    key = content_key([str(_FORMAT), *parts])
    annotations = cache_dir / f"cityscapes-{split}-{key}.json"
    if not annotations.is_file():
        write_once(annotations, lambda: _coco_dictionary(frames))
    images = {frame.path: frame.image for frame in frames}
    dataset = check_coco(load_coco_file(annotations), annotations, images.__getitem__)

    def instance_file(image_id: int) -> StoredFile:
        return frames[image_id - 1].instance_ids

    return FoundObjects(dataset, annotations, instance_file)


def _coco_dictionary(frames: tuple[Frame, ...]) -> dict[str, Any]:
    images, annotations = [], []
    for index, (hw, objects) in checked(frames, _objects):
        image_id = index + 1
        images.append(
            {
                "id": image_id,
                "file_name": frames[index].path,
                "height": hw[0],
                "width": hw[1],
            }
        )
        annotations += [{"image_id": image_id} | found for found in objects]
    return {
        "images": images,
        "categories": [{"id": label, "name": name} for label, name in INSTANCES.items()],
        # From 1 on: pycocotools takes 0 for "no match".
        "annotations": [{"id": n} | found for n, found in enumerate(annotations, 1)],
    }


def _objects(frame: Frame) -> tuple[tuple[int, int], list[dict[str, Any]]] | str:
    """(height, width) and objects of a frame, or what is wrong with it."""
    try:
        ids = _instance_ids(frame)
    except ValueError as error:
        return str(error)
    height, width = ids.shape
    return (height, width), objects_of(ids)


def _instance_ids(frame: Frame) -> Int32[np.ndarray, "H W"]:
    name = str(frame.instance_ids)
    ids = np.asarray(decode_map(frame.instance_ids.read_bytes(), name), np.int32)
    present = np.unique(ids)
    unknown = present[~np.isin(labels_of(present), LABEL_IDS)].tolist()
    if unknown:
        raise ValueError(
            f"The instance id map {name} has the unknown value(s) {unknown[:8]}; a value must be a "
            f"label id of Cityscapes ({LABEL_IDS[0]}..{LABEL_IDS[-1]}), or 1000 times it plus the "
            "number of the object."
        )
    return ids


def objects_of(instance_ids: Int32[np.ndarray, "H W"]) -> list[dict[str, Any]]:
    """The objects of a map as COCO annotations without ids; groups are crowd regions.

    Boxes hold all pixels: an object of one pixel has a box of 1 x 1.
    Source: Detectron2 data/datasets/cityscapes.py, `_cityscapes_files_to_dict` with
    from_json=False, whose boxes end a pixel earlier.
    """
    # In the order in which run lengths are counted, or every mask would be turned.
    by_column = np.asfortranarray(instance_ids)
    present = np.unique(instance_ids)
    labels, single = labels_of(present), is_single_object(present)
    found = []
    for value, label, is_single in zip(present, labels.tolist(), single.tolist(), strict=True):
        if label not in INSTANCES:
            continue
        rle = encode_mask(by_column == value)
        found.append(
            {
                "category_id": label,
                "iscrowd": int(not is_single),
                "bbox": rle_box(rle),
                "area": int(rle_area(rle)),
                "segmentation": rle,
            }
        )
    return found
