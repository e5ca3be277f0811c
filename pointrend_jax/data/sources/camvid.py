"""CamVid in the 11-class, 480x360 version, and any set in the same layout.

Two layouts, in a folder or in one zip file that lies in it, with or without a folder of their own:

    train.txt, val.txt   a line an image: its file and that of its labels
    classes.json         {"classes": [{"id": 0, "name": "sky"}, ...], "void": 255}

and the SegNet tutorial's, which has no classes.json: the class names are CamVid's, void is 11, and
the paths in its lists begin with folders of its authors' machine.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointrend_jax.data.images import encoded_hw
from pointrend_jax.data.sources.categories import CAMVID
from pointrend_jax.data.sources.folders import (
    Files,
    folder_files,
    is_text,
    plain_name,
    read_text,
    zip_files,
)
from pointrend_jax.data.sources.label_set import SemanticImage, SemanticSet
from pointrend_jax.messages import first
from pointrend_jax.structures import IGNORE_LABEL

SPLITS = ("train", "val")
_SEGNET_VOID = 11


def read_camvid(root: Path, split: str) -> SemanticSet:
    """Reads and checks a split; every file must exist, label images are opened but not decoded.

    Args:
      split: "train" or "val", the name of its list.
    Raises: ValueError for a missing or malformed list, missing or repeated files, or wrong classes.
    """
    list_name = f"{split}.txt"
    files = _find_files(root, list_name)
    class_names, label_values = _classes(files)
    pairs = _pairs(read_text(files[list_name]), files, str(files[list_name]))
    images = tuple(_image(image, labels, files) for image, labels in pairs)
    return SemanticSet(images, class_names, label_values, instance_classes=())


def _find_files(root: Path, list_name: str) -> Files:
    """The files by path relative to the list."""
    lists = [*root.glob(list_name), *root.glob(f"*/{list_name}")]
    if lists:
        return folder_files(_nearest(lists, root).parent)
    zips = sorted(root.glob("*.zip"))
    if len(zips) != 1:
        raise ValueError(
            f"config.data.dir {root} must have the list {list_name} with an image a line, or one "
            f"zip file that has it; it has no such list, but {len(zips)} zip files. A run needs "
            "train.txt and val.txt, or config.data.held_out = 0.1 for train.txt alone."
        )
    files = zip_files(zips[0])
    found = [Path(name) for name in files if f"/{name}".endswith(f"/{list_name}")]
    if not found:
        raise ValueError(f"The zip file {zips[0]} must have the list {list_name}.")
    prefix = _nearest(found, zips[0]).as_posix().removesuffix(list_name)
    return {n.removeprefix(prefix): f for n, f in files.items() if n.startswith(prefix)}


def _nearest(lists: list[Path], where: Path) -> Path:
    """The list in the fewest folders. Raises ValueError if there are several such."""
    fewest = min(len(path.parts) for path in lists)
    nearest = sorted(path for path in lists if len(path.parts) == fewest)
    if len(nearest) > 1:
        raise ValueError(
            f"{where} has several sets: {first([str(path) for path in nearest])}; set "
            "config.data.dir to the folder of one of them."
        )
    return nearest[0]


def _classes(files: Files) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names, and what the values of the label images mean."""
    if "classes.json" not in files:
        return CAMVID, {i: i for i in range(len(CAMVID))} | {_SEGNET_VOID: IGNORE_LABEL}
    file = files["classes.json"]
    try:
        content: Any = json.loads(read_text(file))
        void = _whole_number(content["void"])
        names = {_whole_number(entry["id"]): _text(entry["name"]) for entry in content["classes"]}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f'{file} must be {{"classes": [{{"id": 0, "name": ...}}, ...], "void": 255}}; it is '
            f"not ({type(error).__name__}: {error})."
        ) from error
    number = len(content["classes"])
    if not 1 <= number < IGNORE_LABEL or sorted(names) != list(range(number)):
        raise ValueError(
            f"{file} must have between 1 and {IGNORE_LABEL - 1} classes with the ids 0, 1, 2, ..., "
            f"got the ids {sorted(names)[:20]} of {number} classes."
        )
    repeated = [name for name, count in Counter(names.values()).items() if count > 1]
    if repeated:
        raise ValueError(f"{file} must have different class names, got several {repeated[0]!r}.")
    if void in names or not 0 <= void < 256:
        raise ValueError(f"{file}: void must be between 0 and 255 and no class, got {void}.")
    label_values = {i: i for i in names} | {void: IGNORE_LABEL}
    return tuple(names[i] for i in range(number)), label_values


def _whole_number(value: Any) -> int:
    if type(value) in (int, str) or (type(value) is float and value.is_integer()):
        return int(value)
    raise ValueError(f"an id must be a whole number, got {str(value)[:50]!r}")


def _text(value: Any) -> str:
    if is_text(value):
        return value
    raise ValueError(f"a name must be a text, got {str(value)[:50]!r}")


def _pairs(text: str, files: Files, list_file: str) -> list[tuple[str, str]]:
    """(image, labels) of each line, as keys of `files`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{list_file} must have at least one line.")
    wrong = [line for line in lines if len(line.split()) != 2]
    if wrong:
        raise ValueError(
            f"Every line of {list_file} must be an image file and a label file, without spaces in "
            f"their names; {len(wrong)} are not: {first(wrong)}."
        )
    names = [name for line in lines for name in line.split()]
    plain = {plain_name(name): name for name in files}
    found = [_find(name, files, plain) for name in names]
    missing = [name for name, file in zip(names, found, strict=True) if file is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(names)} files in {list_file} are missing: "
            f"{first(missing)}; complete the folder or remove their lines."
        )
    known = [str(file) for file in found]
    pairs = list(zip(known[::2], known[1::2], strict=True))
    counts = Counter(image for image, _ in pairs)
    repeated = [image for image, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(f"{list_file} has images more than once: {first(repeated)}.")
    return pairs


def _find(name: str, files: Files, plain: Mapping[str, str]) -> str | None:
    """The file that a list means: `name`, or what remains of it without leading folders.

    Args: plain, the names of `files` by their `plain_name`.
    """
    for spelling, known in ((name, files), (plain_name(name), plain)):
        parts = [part for part in spelling.split("/") if part not in ("", ".")]
        tails = ("/".join(parts[start:]) for start in range(max(len(parts) - 1, 1)))
        found = next((tail for tail in tails if tail in known), None)
        if found is not None:
            return plain[found] if known is plain else found
    return None


def _image(image: str, labels: str, files: Files) -> SemanticImage:
    height, width = encoded_hw(files[labels].read_bytes(), str(files[labels]))
    return SemanticImage(image, files[image], files[labels], None, height, width)
