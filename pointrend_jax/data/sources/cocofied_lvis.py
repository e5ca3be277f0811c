"""LVIS annotations of COCO's 80 categories, for the paper's AP*: COCO models against better masks.

The rules are those of Detectron2's datasets/prepare_cocofied_lvis.py: annotations of categories
whose synset is one of COCO's stay, renumbered; the ids become COCO's, in the lists of the images
too; every image stays. One thing differs: all 80 categories stay, under COCO's names, where
Detectron2 leaves out those that the file never mentions, so that the classes are those of a COCO
model. The scores are the same, as categories without an object count in no average.
"""

from pathlib import Path
from typing import Any

from pointrend_jax.data.sources.annotation_cache import write_once
from pointrend_jax.data.sources.categories import COCO, COCO_IDS
from pointrend_jax.data.sources.lvis import load_lvis, lvis_set
from pointrend_jax.data.sources.object_set import FoundObjects
from pointrend_jax.storage import content_key
from pointrend_jax.structures import FEDERATED_LISTS

# Part of the key: raise it when the annotation file changes.
_FORMAT = 1
# In the order of `COCO_IDS`. Source: data/coco_to_synset.json of lvis-api.
COCO_SYNSETS = (
    *("person.n.01", "bicycle.n.01", "car.n.01", "motorcycle.n.01", "airplane.n.01", "bus.n.01"),
    *("train.n.01", "truck.n.01", "boat.n.01", "traffic_light.n.01", "fireplug.n.01"),
    *("stop_sign.n.01", "parking_meter.n.01", "bench.n.01", "bird.n.01", "cat.n.01", "dog.n.01"),
    *("horse.n.01", "sheep.n.01", "beef.n.01", "elephant.n.01", "bear.n.01", "zebra.n.01"),
    *("giraffe.n.01", "backpack.n.01", "umbrella.n.01", "bag.n.04", "necktie.n.01", "bag.n.06"),
    *("frisbee.n.01", "ski.n.01", "snowboard.n.01", "ball.n.06", "kite.n.03"),
    *("baseball_bat.n.01", "baseball_glove.n.01", "skateboard.n.01", "surfboard.n.01"),
    *("tennis_racket.n.01", "bottle.n.01", "wineglass.n.01", "cup.n.01", "fork.n.01"),
    *("knife.n.01", "spoon.n.01", "bowl.n.03", "banana.n.02", "apple.n.01", "sandwich.n.01"),
    *("orange.n.01", "broccoli.n.01", "carrot.n.01", "frank.n.02", "pizza.n.01"),
    *("doughnut.n.02", "cake.n.03", "chair.n.01", "sofa.n.01", "pot.n.04", "bed.n.01"),
    *("dining_table.n.01", "toilet.n.02", "television_receiver.n.01", "laptop.n.01"),
    *("mouse.n.04", "remote_control.n.01", "computer_keyboard.n.01", "cellular_telephone.n.01"),
    *("microwave.n.02", "oven.n.01", "toaster.n.02", "sink.n.01", "electric_refrigerator.n.01"),
    *("book.n.01", "clock.n.01", "vase.n.01", "scissors.n.01", "teddy.n.01", "hand_blower.n.01"),
    "toothbrush.n.01",
)


def read_cocofied_lvis(
    annotation_file: Path, root: Path, folder: str, cache_dir: Path
) -> FoundObjects:
    """The COCO part of an LVIS file; its annotation file is made once.

    Args: as `read_lvis`.
    Raises: ValueError as `read_lvis` and `cocofy`, or if the cache cannot be written.
    """
    data = cocofy(load_lvis(annotation_file, folder), annotation_file)
    key = content_key([annotation_file.read_bytes(), folder, str(_FORMAT)])
    annotations = cache_dir / f"cocofied-{annotation_file.stem}-{key}.json"
    if not annotations.is_file():
        write_once(annotations, lambda: data)
    return FoundObjects(lvis_set(data, annotation_file, root), annotations)


def cocofy(lvis: dict[str, Any], annotation_file: Path) -> dict[str, Any]:
    """An LVIS dictionary (from `load_lvis`) with COCO's 80 categories under their COCO ids.

    A category that the file does not have is rare: it is in no image.
    Raises: ValueError if a category has no synset, two have the same, or no annotation is left.
    """
    coco_ids = _coco_ids(lvis["categories"], annotation_file)
    kept = [a for a in lvis["annotations"] if a["category_id"] in coco_ids]
    if not kept:
        raise ValueError(
            f"{annotation_file} must have annotations of COCO's categories, which are known by "
            f'their "synset" ("{COCO_SYNSETS[0]}"); none of its {len(lvis["annotations"])} is.'
        )
    annotations = [
        a | {"id": number, "category_id": coco_ids[a["category_id"]]}
        for number, a in enumerate(kept, 1)
    ]
    images = [
        image
        | {name: [coco_ids[i] for i in image[name] if i in coco_ids] for name in FEDERATED_LISTS}
        for image in lvis["images"]
    ]
    frequencies = {
        coco_ids[c["id"]]: c["frequency"] for c in lvis["categories"] if c["id"] in coco_ids
    }
    categories = [
        {"id": i, "name": name, "synset": synset, "frequency": frequencies.get(i, "r")}
        for i, name, synset in zip(COCO_IDS, COCO, COCO_SYNSETS, strict=True)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def _coco_ids(categories: list[dict[str, Any]], annotation_file: Path) -> dict[int, int]:
    """From the ids of the file's categories to COCO's, of those that COCO has."""
    by_synset = dict(zip(COCO_SYNSETS, COCO_IDS, strict=True))
    found: dict[int, int] = {}
    for category in categories:
        synset = category.get("synset")
        if not isinstance(synset, str):
            raise ValueError(
                f'{annotation_file}: every category must have a "synset" to be brought to COCO\'s, '
                f"got {str(category)[:200]}."
            )
        if synset not in by_synset:
            continue
        if by_synset[synset] in found.values():
            raise ValueError(
                f"{annotation_file}: two categories have the synset {synset!r}, the second is "
                f"category {category['id']}; a synset must be one category's."
            )
        found[category["id"]] = by_synset[synset]
    return found
