"""Predicted instances as files that other programs read, written image by image.

A folder holds a journal with a line for each image, which a stop at any moment leaves readable, and
files that are made of it at the end. The format `coco` has `instances.json`, annotations with masks
(RLE), and `detections.json`, the list of results that pycocotools' `loadRes` takes. The format
`polygons` has `instances_polygons.json`, annotations with outlines, for programs that know no RLE.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import lock_descriptor

from pointrend_jax.storage import AnyPath, readable, write_parts

JOURNAL = "predictions.jsonl"
_INSTANCES, _POLYGONS = "instances.json", "instances_polygons.json"
_DETECTIONS = "detections.json"
_RESULT_FIELDS = ("image_id", "category_id", "bbox", "score", "segmentation")

# The field of an instance in the journal that has its outlines, beside its mask.
_OUTLINES = "polygons"

Annotation = dict[str, Any]


class Predictions:
    """The predictions in a folder: those that lie there and those that are added.

    A context; leaving it, also by an error or Ctrl-C, makes the files of all that is there.
    """

    def __init__(
        self,
        folder: Path,
        categories: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Any],
        formats: Sequence[str],
    ) -> None:
        """What lies in the folder must have been written with the same categories and so on.

        Args:
          categories: "id" and "name" of each class.
          settings: fit for JSON, what must not differ between the images of one folder.
          formats: all that is written there; of "coco" and "polygons" it is done here.
        Raises: ValueError if the folder's predictions have other categories, settings or formats,
          or another program is adding to them.
        """
        self._folder, self._formats = folder, tuple(formats)
        self._head = {"categories": list(categories)} | dict(settings) | {"formats": list(formats)}
        self._file = (folder / JOURNAL).open("ab")
        try:
            if not lock_descriptor(self._file.fileno(), blocking=False):
                raise ValueError(
                    f"another program is adding to {folder / JOURNAL}; choose another --output."
                )
            self._next_id = self._open()
        except ValueError:
            self._file.close()
            raise

    def add(
        self,
        file_name: str,
        image_hw: tuple[int, int],
        instances: Iterable[Annotation],
        *,
        picture: str,
        image_id: int | None = None,
    ) -> None:
        """Appends the instances of one image.

        Args:
          instances: as `PredictedInstances.to_coco` makes them, without `image_id`; for the format
            "polygons" each with its "polygons", lists x0, y0, x1, y1, ...
          picture: what its pictures are called.
          image_id: of the data set; None for the next number.
        """
        if image_id is None:
            image_id = self._next_id
        self._next_id = max(self._next_id, image_id + 1)
        height, width = image_hw
        image = {"id": image_id, "file_name": readable(file_name)}
        image |= {"height": height, "width": width}
        self._write({"image": image, "picture": readable(picture), "found": [*instances]})

    def _open(self) -> int:
        """The id of the next image, after what a stop has cut short is removed."""
        whole, next_id = 0, 1
        for entry, end in _entries(self._folder):
            if not whole and entry != self._head:
                differing = [k for k in self._head if entry.get(k) != self._head[k]]
                raise ValueError(
                    f"{self._folder / JOURNAL} holds predictions with other {differing}; choose "
                    "another --output, or predict as then."
                )
            next_id = max(next_id, entry["image"]["id"] + 1) if whole else 1
            whole = end
        self._file.truncate(whole)
        if not whole:
            self._write(self._head)
        return next_id

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> "Predictions":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            folder, head = self._folder, self._head
            if "coco" in self._formats:
                write_parts(folder / _INSTANCES, _coco_file(folder, head, _with_masks))
                write_results_list(folder / _DETECTIONS, _results(folder))
            if "polygons" in self._formats:
                write_parts(folder / _POLYGONS, _coco_file(folder, head, _with_polygons))


def predicted_files(folder: Path) -> dict[str, str]:
    """File name to name of the pictures, for the images whose predictions the folder holds.

    Raises: ValueError if they are damaged, or if files of these names lie there without a journal.
    """
    if not (folder / JOURNAL).exists():
        foreign = [n for n in (_INSTANCES, _POLYGONS, _DETECTIONS) if (folder / n).exists()]
        if foreign:
            raise ValueError(
                f"{folder / foreign[0]} would be replaced: there is no {JOURNAL} beside it to add "
                "to; choose another --output."
            )
        return {}
    return {entry["image"]["file_name"]: entry["picture"] for entry in _images(folder)}


def write_results_list(path: AnyPath, results: Iterable[Mapping[str, Any]]) -> None:
    """A list of results in COCO's format, one a line, as `COCO.loadRes` takes it."""
    write_parts(path, _array(results, "[\n", "\n]\n"))


def _entries(folder: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The head, then an entry an image, each with the byte behind it; a last half line is left."""
    path, end = folder / JOURNAL, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
                _check_entry(entry, is_head=number == 1)
            except (ValueError, RecursionError) as error:
                raise ValueError(
                    f"{path}: line {number} is damaged ({error}); restore the file, or choose "
                    "another --output."
                ) from error
            end += len(line)
            yield entry, end


def _check_entry(entry: Any, *, is_head: bool) -> None:
    match entry:
        case {"categories": list()} if is_head:
            return
        case {
            "image": {"id": int(), "file_name": str()},
            "picture": str(),
            "found": list(),
        } if not is_head:
            return
    raise ValueError("it is no entry of predictions")


def _images(folder: Path) -> Iterator[dict[str, Any]]:
    """The entries without the head."""
    return (entry for entry, _ in islice(_entries(folder), 1, None))


def _results(folder: Path) -> Iterator[dict[str, Any]]:
    for entry in _images(folder):
        for instance in entry["found"]:
            result = {"image_id": entry["image"]["id"]} | instance
            yield {name: result[name] for name in _RESULT_FIELDS}


def _annotations(folder: Path, change: Callable[[Annotation], Annotation]) -> Iterator[Annotation]:
    """With ids from 1 on: pycocotools takes a match with annotation 0 for none."""
    number = 0
    for entry in _images(folder):
        for instance in entry["found"]:
            number += 1
            changed = change(instance)
            # A polygon has at least three corners, so an object that has none cannot be given.
            if changed["segmentation"]:
                yield {"id": number, "image_id": entry["image"]["id"]} | changed


def _with_masks(instance: Annotation) -> Annotation:
    return {name: value for name, value in instance.items() if name != _OUTLINES}


def _with_polygons(instance: Annotation) -> Annotation:
    return _with_masks(instance) | {"segmentation": instance[_OUTLINES]}


def _coco_file(
    folder: Path,
    head: Mapping[str, Any],
    change: Callable[[Annotation], Annotation],
) -> Iterator[bytes]:
    """A COCO annotation file, a line an entry; never in memory as a whole."""
    info = {"description": "predictions of pointrend_jax"} | dict(head)
    categories, _ = info.pop("categories"), info.pop("formats")
    yield f'{{"info": {json.dumps(info)},\n"licenses": [],\n'.encode()
    yield f'"categories": {json.dumps(categories)},\n'.encode()
    yield from _array((entry["image"] for entry in _images(folder)), '"images": [\n', "\n],\n")
    yield from _array(_annotations(folder, change), '"annotations": [\n', "\n]}\n")


def _array(items: Iterable[Mapping[str, Any]], opening: str, closing: str) -> Iterator[bytes]:
    yield opening.encode()
    for i, item in enumerate(items):
        yield (",\n" if i else "").encode() + json.dumps(item, allow_nan=False).encode()
    yield closing.encode()
