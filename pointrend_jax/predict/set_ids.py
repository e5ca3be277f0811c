"""The ids that a data set gives its images and categories, for predictions of its images."""

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pointrend_jax.messages import first
from pointrend_jax.storage import readable


class SetIds(NamedTuple):
    """What a COCO file says of ids; it may lack annotations, as those of test sets do.

    Attributes:
      source: the file.
      images: from a file name, as the file has it, to the image's id.
      categories: from a name to the category's id; empty if the file has no categories.
      annotated: whether the file has annotations.
    """

    source: Path
    images: Mapping[str, int]
    categories: Mapping[str, int]
    annotated: bool = False

    def match(self, paths: Sequence[Path]) -> list[str]:
        """The file name in the set of each path: the longest that it ends with, else the longest
        that is written otherwise (back-slashes, composed letters).

        Raises: ValueError, listing them, if a path is not of the set, or two are one image.
        """
        exact = {PurePosixPath(name).parts: name for name in self.images}
        alike = {_usual_parts(name): name for name in self.images}
        names, unknown = [], []
        for path in paths:
            absolute = path.absolute()
            name = _longest_end(absolute.parts, exact)
            name = name or _longest_end(_usual_parts(str(absolute)), alike)
            names.append(name)
            if name is None:
                unknown.append(readable(path))
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(paths)} images are not in {self.source}, whose first is "
                f"{next(iter(self.images))!r}: {first(unknown)}; leave them out, or "
                "predict them without --annotations."
            )
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"several images are {twice[0]!r} of {self.source}; give each once.")
        return [name for name in names if name is not None]


def _usual_parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/"))).parts


def _longest_end(parts: tuple[str, ...], names: Mapping[tuple[str, ...], str]) -> str | None:
    return next((names[p] for i in range(len(parts)) if (p := parts[i:]) in names), None)


def read_set_ids(path: Path) -> SetIds:
    """The ids in a COCO file. Raises ValueError if it cannot be read, or ids or names repeat."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"--annotations {path} cannot be read: {error}.") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise ValueError(f'--annotations {path} must be a COCO file with a list of "images".')
    categories = content.get("categories") or []
    return SetIds(
        path,
        _by_name(path, images, "images", "file_name"),
        _by_name(path, categories, "categories", "name"),
        bool(content.get("annotations")),
    )


def _by_name(path: Path, entries: Any, kind: str, key: str) -> dict[str, int]:
    pairs = []
    for entry in entries if isinstance(entries, list) else [entries]:
        match entry:
            case {"id": int(number)} if isinstance(entry.get(key), str) and number is not True:
                pairs.append((entry[key], number))
            case _:
                raise ValueError(
                    f'{path}: every entry of "{kind}" must have an integer "id" and a "{key}", got '
                    f"{str(entry)[:200]}."
                )
    for what, values in ((key, [name for name, _ in pairs]), ("id", [i for _, i in pairs])):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise ValueError(
                f'{path}: the "{what}" of each entry of "{kind}" must be another one, '
                f"{len(twice)} repeat, such as {twice[0]!r}."
            )
    return dict(pairs)
