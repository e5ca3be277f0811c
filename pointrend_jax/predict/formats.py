"""What `predict` writes of an image: the formats, of which kind of model, and where results lie."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from pointrend_jax.masks.outlines import Polygon, joined
from pointrend_jax.masks.runs import decode_rle
from pointrend_jax.storage import write_whole
from pointrend_jax.visualize import save_picture

# By config.task: what is written unless something else is asked for, and what else there is.
_DEFAULT: Mapping[str, tuple[str, ...]] = {
    "instance": ("overlay", "coco", "polygons"),
    "semantic": ("overlay", "png"),
}
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "instance": ("png", "yolo", "svg", "pdf"),
    "semantic": ("svg", "pdf", "geojson"),
}
FORMATS = tuple(
    dict.fromkeys(
        name for task in _DEFAULT for kinds in (_DEFAULT, _OTHERS) for name in kinds[task]
    )
)

YOLO_NAMES, CLASSES = "data.yaml", "classes.json"
# Folders in the folder of results.
_MASKS, _YOLO_LABELS = "masks", "labels"
_LABELS = "NAME_labels"
# What each format is in the folder of results, in words; NAME is that of an image.
_IN_WORDS: Mapping[str, Mapping[str, str]] = {
    "instance": {
        "overlay": "NAME.png (the masks on the image)",
        "coco": "instances.json and detections.json (COCO)",
        "polygons": "instances_polygons.json (COCO, outlines)",
        "png": f"{_MASKS}/NAME/ (an image a mask)",
        "yolo": f"{_YOLO_LABELS}/NAME.txt and {YOLO_NAMES} (YOLO)",
        "svg": "NAME.svg (the masks as paths on the image)",
        "pdf": "NAME.pdf (the same)",
    },
    "semantic": {
        "overlay": "NAME.png (the classes in colour)",
        "png": f"{_LABELS}.png (their indices) and {CLASSES}",
        "svg": "NAME.svg (the classes as areas on the image)",
        "pdf": "NAME.pdf (the same)",
        "geojson": "NAME.geojson (the areas of each class as polygons in degrees)",
    },
}
A_REFINER = (
    "this model predicts nothing by itself, it sharpens given masks: pointrend_jax refine --images "
    "FOLDER --annotations FILE --output FILE --checkpoint RUN, in Python pointrend_jax.refine"
)
_NOT_IN_NAMES = r"[^\w.-]+"


def chosen_formats(asked: Sequence[str], task: str) -> tuple[str, ...]:
    """The formats that are asked for, or the usual ones of the model.

    Args:
      asked: some of `FORMATS`, in any order; empty for the usual ones.
      task: `config.task` of the model.
    Raises: ValueError, listing the known ones, for a format that models of this kind do not have.
    """
    if task not in _DEFAULT:
        raise ValueError(f"{A_REFINER}.")
    known = _DEFAULT[task] + _OTHERS[task]
    wrong = [name for name in asked if name not in known]
    if wrong:
        what = "finds instances" if task == "instance" else "gives label maps"
        raise ValueError(
            f"--format {', '.join(wrong)} cannot be written: this model {what}, whose formats are "
            f"{', '.join(known)}."
        )
    return tuple(name for name in known if name in asked) or _DEFAULT[task]


def in_words(formats: Sequence[str], task: str, in_parts: Collection[str] = ()) -> str:
    """What lies in the folder of results, for people.

    Args:
      in_parts: how the labels end of images that were read in parts, and "" if others were not.
    """
    endings = sorted(ending or ".png" for ending in in_parts if ending or "png" in formats)
    labels = ", ".join(f"{_LABELS}{ending}" for ending in endings or (".png",))
    kinds = [k for k in _IN_WORDS[task] if k in formats or (k == "png" and any(in_parts))]
    return ", ".join(_IN_WORDS[task][kind].replace(f"{_LABELS}.png", labels) for kind in kinds)


def result_paths(
    name: str, formats: Sequence[str], task: str, *, in_parts: bool = False
) -> list[list[str]]:
    """Where the results of an image lie in the folder of results.

    Args:
      name: what its results are called.
      in_parts: whether the image is read in parts, so that labels are written in any case.
    Returns: for each format that has files of an image, those of which one is written.
    """
    if in_parts and "png" not in formats:
        formats = (*formats, "png")
    if task == "semantic":
        maps = [f"{name}_labels{suffix}" for suffix in (".png", ".npy", ".tif")]
        paths = {"png": maps, "geojson": [f"{name}.geojson"]}
    else:
        paths = {"png": [f"{_MASKS}/{name}"], "yolo": [f"{_YOLO_LABELS}/{name}.txt"]}
    paths |= {"overlay": [f"{name}.png"], "svg": [f"{name}.svg"], "pdf": [f"{name}.pdf"]}
    return [paths[kind] for kind in formats if kind in paths]


def check_same(path: Path, content: bytes) -> None:
    """Raises ValueError if the file is there with other content, for the classes of another model.

    Args:
      content: what says which classes this model has.
    """
    if path.exists() and path.read_bytes() != content:
        raise ValueError(
            f"{path} would be replaced: it does not have the classes of this model; choose another "
            "--output."
        )


def write_masks(
    output: Path, name: str, records: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> None:
    """A PNG file of 0 and 255 for each instance, and a list of which is which.

    Args:
      records: as `PredictedInstances.to_coco` makes them. class_names: of each.
    """
    folder = output / _MASKS / name
    listed = []
    for i, (record, class_name) in enumerate(zip(records, class_names, strict=True), 1):
        file = f"{i:03d}_{re.sub(_NOT_IN_NAMES, '_', class_name)[:60]}.png"
        mask = decode_rle(record["segmentation"]).astype(np.uint8) * 255
        save_picture(folder / file, mask)
        fields = {field: record[field] for field in ("category_id", "score", "bbox", "area")}
        listed.append({"file_name": file, "class_name": class_name} | fields)
    lines = ",\n".join(json.dumps(entry) for entry in listed)
    write_whole(folder / "masks.json", f"[\n{lines}\n]\n".encode())


def write_yolo(
    output: Path,
    name: str,
    classes: Int[np.ndarray, " n"],
    polygons: Sequence[Sequence[Polygon]],
    image_hw: tuple[int, int],
) -> None:
    """A text file with a line for each instance: its class, and its outline as x and y in 0..1.

    A line holds one polygon, so parts are joined by slits of no width, as Ultralytics joins them
    when it makes such files of COCO's. An instance without a pixel has no line.
    """
    size = np.asarray([image_hw[1], image_hw[0]])
    lines = []
    for label, parts in zip(classes, polygons, strict=True):
        if parts:
            numbers = " ".join(f"{v:.6g}" for v in np.round(joined(parts) / size, 6).ravel())
            lines.append(f"{label} {numbers}\n")
    write_whole(output / _YOLO_LABELS / f"{name}.txt", "".join(lines).encode())


def yolo_names(class_names: Sequence[str]) -> bytes:
    """The names of the classes as a `data.yaml` of Ultralytics, of images in `images`.

    Texts are written as JSON has them, which is YAML too, but for letters beyond 16 bits.
    """
    names = [f'  {i}: "{"".join(map(_escaped, name))}"' for i, name in enumerate(class_names)]
    return "\n".join(["train: images", "val: images", "names:", *names, ""]).encode()


def _escaped(letter: str) -> str:
    return f"\\U{ord(letter):08x}" if ord(letter) > 0xFFFF else json.dumps(letter)[1:-1]
