"""Which data set a folder holds, in any layout that people have: what `config.data` must say.

annotations/instances_{train,val}2017.json, {train,val}2017/    COCO, and what is laid out so
{train,valid}/_annotations.coco.json, the images beside it      Roboflow
annotations/instances_default.json, images/                     CVAT
result.json, images/                                            label tools
PNGImages/, PedMasks/                                           Penn-Fudan
train.txt, val.txt                                              CamVid, SegNet
leftImg8bit, gtFine (folders or zip files)                      Cityscapes
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pointrend_jax.data.sources.folders import find_below
from pointrend_jax.messages import first

# The share of the images that is held out where no split is for the evaluation.
HELD_OUT = 0.15
_CITYSCAPES = ("leftImg8bit", "leftImg8bit_trainvaltest.zip")
_PENN_FUDAN = ("PNGImages", "PedMasks")
_EVAL_WORDS = ("val", "valid", "validation", "eval")
# Images of a file that are looked for, to find the folder that they are in.
_LOOKED_FOR = 8
_DEEPEST = 3
_LAYOUTS = (
    "COCO annotations (.json) with their images, Roboflow's, CVAT's or a label tool's export of "
    "them, PNGImages and PedMasks, train.txt (CamVid), or leftImg8bit and gtFine (Cityscapes)"
)


class Layout(NamedTuple):
    """A data set that was found.

    Attributes:
      what: it is, in words.
      task: "instance" or "semantic".
      fields: of `config.data`, by name.
    """

    what: str
    task: str
    fields: Mapping[str, Any]


class _AnnotationFile(NamedTuple):
    """A file of objects in COCO's format, and the folder of its images, relative to the root.

    Attributes:
      split: "train", "eval", or "" if its name says neither.
    """

    path: Path
    images: Path
    split: str


def find_layout(root: Path) -> Layout:
    """What a folder holds. No image is opened.

    Raises: ValueError, saying what was found and what is known, if it is no data set or several.
    """
    if not root.is_dir():
        raise ValueError(f"--data {root} is not a folder; give the folder of a data set.")
    if any((root / name).exists() for name in _CITYSCAPES):
        return Layout("Cityscapes", "semantic", {"source": "cityscapes"})
    if all((root / name).is_dir() for name in _PENN_FUDAN):
        images, masks = _PENN_FUDAN
        fields = _held_out({"source": "id_masks", "class_names": ("person",)})
        return Layout(
            "Penn-Fudan's photos and masks",
            "instance",
            fields | {"train_images": images, "train_annotations": masks},
        )
    if lists := _lists_of_images(root):
        fields: dict[str, Any] = {"source": "camvid"}
        return Layout(
            "a list of images with label images",
            "semantic",
            fields if "val.txt" in lists else _held_out(fields),
        )
    return _coco(root)


def _lists_of_images(root: Path) -> set[str]:
    found = [*root.glob("train.txt"), *root.glob("*/train.txt")]
    return {path.name for path in found[0].parent.glob("*.txt")} if found else set()


def _held_out(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"held_out": HELD_OUT}


def _coco(root: Path) -> Layout:
    files = list(_annotation_files(root))
    if not files:
        raise ValueError(
            f"--data {root} holds no data set that is known by its layout ({_LAYOUTS}); put it "
            "into one of them, or write a config (docs/data.md)."
        )
    train = _only(root, "training", [f for f in files if f.split in ("train", "")])
    evaluation = [f for f in files if f.split == "eval"]
    fields: dict[str, Any] = {
        "source": "coco",
        "train_annotations": train.path.as_posix(),
        "train_images": train.images.as_posix(),
    }
    if not evaluation:
        return Layout(f"COCO annotations in {train.path}", "instance", _held_out(fields))
    val = _only(root, "evaluation", evaluation)
    fields |= {"eval_annotations": val.path.as_posix(), "eval_images": val.images.as_posix()}
    return Layout(f"COCO annotations in {train.path} and {val.path}", "instance", fields)


def _only(root: Path, which: str, files: list[_AnnotationFile]) -> _AnnotationFile:
    """The one file of a split: that of the shortest name, if others beside it only say more."""
    if not files:
        raise ValueError(
            f"--data {root} has annotations for an evaluation, but none for a training; name the "
            "file train.json, or write a config (docs/data.md)."
        )
    shortest = min(files, key=lambda f: len(f.path.stem))
    folder, stem = shortest.path.parent, shortest.path.stem
    others = [f for f in files if f.path.parent != folder or not f.path.stem.startswith(stem)]
    if others:
        listed = first([str(f.path) for f in files])
        raise ValueError(
            f"--data {root} has {len(files)} annotation files that may be for {which}: {listed}. "
            "Leave one of them there, or write a config (docs/data.md)."
        )
    return shortest


def _annotation_files(root: Path) -> Iterator[_AnnotationFile]:
    """The files of objects with outlines whose images are there; of test sets there are none."""
    found = [path for depth in range(_DEEPEST) for path in root.glob("*/" * depth + "*.json")]
    for path in sorted(path.relative_to(root) for path in found):
        parts = [part.lower() for part in (*path.parts[:-1], path.stem)]
        words = " ".join(parts).replace("_", " ").replace(".", " ").replace("-", " ").split()
        if "keypoints" in words:
            continue
        content = None if _has(words, "test") else _objects(root / path)
        folder = None if content is None else _image_folder(root, path, content)
        if folder is not None:
            split = "train" if _has(words, "train") else ""
            split = "eval" if any(_has(words, word) for word in _EVAL_WORDS) else split
            yield _AnnotationFile(path, folder, split)


def _has(words: list[str], word: str) -> bool:
    """Whether one of them is `word`, with a year or a number behind it at most ("train2017")."""
    return any(w.rstrip("0123456789") == word for w in words)


def _objects(path: Path) -> dict[str, Any] | None:
    """The content of a file with COCO's three lists and an outline; None for any other."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in lists):
        return None
    outlined = any(isinstance(a, dict) and a.get("segmentation") for a in content["annotations"])
    return content if outlined and content["images"] else None


def _image_folder(root: Path, path: Path, content: dict[str, Any]) -> Path | None:
    """The folder, relative to the root, in which the images of a file are; None if none has them.

    The folder of the file itself comes first, then those that are called like a part of its name.
    """
    images = [i.get("file_name") for i in content["images"] if isinstance(i, dict)]
    names = [name for name in images if isinstance(name, str)]
    names = names[:: max(len(names) // _LOOKED_FOR, 1)][:_LOOKED_FOR]
    folders = [path.parent, Path(), *sorted(_folders(root))]
    words = path.stem.lower()
    folders.sort(key=lambda f: f != path.parent and not (f.name and f.name.lower() in words))
    for folder in folders:
        if names and all(find_below(root / folder, name).exists() for name in names):
            return folder
    return None


def _folders(root: Path) -> set[Path]:
    found = {path.relative_to(root) for path in root.glob("*/") if path.is_dir()}
    return found | {p.relative_to(root) for p in root.glob("*/*/") if p.is_dir()}
