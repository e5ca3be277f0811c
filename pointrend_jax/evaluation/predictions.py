"""Predicted instances as files that other programs read, written image by image.

A folder holds a journal with a line for each image, which a stop at any moment leaves readable, and
three files that are made of it at the end: `instances.json`, COCO annotations with masks (RLE);
`instances_polygons.json`, the same with outlines, for programs that know no RLE; and
`detections.json`, the list of results that pycocotools' `loadRes` takes.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import lock_descriptor
from jaxtyping import Float
from skimage.measure import find_contours

from pointrend_jax.masks.rle import Rle, decode_columns, rle_area, rle_box
from pointrend_jax.storage import AnyPath, readable, write_parts

JOURNAL = "predictions.jsonl"
_INSTANCES, _POLYGONS = "instances.json", "instances_polygons.json"
_DETECTIONS = "detections.json"
_RESULT_FIELDS = ("image_id", "category_id", "bbox", "score", "segmentation")

Annotation = dict[str, Any]


class Predictions:
    """The predictions in a folder: those that lie there and those that are added.

    A context; leaving it, also by an error or Ctrl-C, makes the files of all that is there.
    """

    def __init__(
        self, folder: Path, categories: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
    ) -> None:
        """Args: categories, "id" and "name" of each class; settings, fit for JSON, what must not
        differ between the images of one folder.

        Raises: ValueError if the folder's predictions have other categories or settings, or another
          program is adding to them.
        """
        self._folder, self._head = folder, {"categories": list(categories)} | dict(settings)
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
        """Appends the instances of one image, as `annotation` makes them.

        Args:
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
            for name, change in ((_INSTANCES, None), (_POLYGONS, _with_outlines)):
                write_parts(self._folder / name, _coco_file(self._folder, self._head, change))
            write_results_list(self._folder / _DETECTIONS, _results(self._folder))


def annotation(
    box: Float[np.ndarray, "4"],
    score: float | np.floating,
    category_id: int,
    segmentation: Rle,
) -> Annotation:
    """A predicted instance with COCO's fields, but for its id and its image's.

    Args:
      box: xyxy in pixels; "bbox" is x, y, width, height.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    return {
        "category_id": category_id,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": rle_area(segmentation),
        "iscrowd": 0,
        "score": float(score),
        "segmentation": segmentation,
    }


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


def outlines(segmentation: Rle) -> list[list[float]]:
    """The outer borders of a mask's parts as polygons [x0, y0, ...], largest first.

    Holes are filled, points on straight lines left out. Empty for an empty mask.
    """
    x, y, width, height = (int(v) for v in rle_box(segmentation))
    part = decode_columns(segmentation, x, x + width)[y : y + height]
    # A border of zeros closes the outlines of masks that touch the image's edge.
    field = np.pad(part, 1).astype(np.float32)
    polygons = []
    for line in find_contours(field, 0.5, fully_connected="high") if field.any() else ():
        # A line has (row, column) of pixels' centres and ends where it begins; pixel (0, 0) of the
        # field is (x - 1, y - 1) of the image.
        points = line[:-1, ::-1] + np.asarray([x - 0.5, y - 0.5])
        after = np.roll(points, -1, axis=0)
        area = float(np.sum(_cross(points, after))) / 2
        # The outlines of holes run the other way round and have a negative area.
        if area > 0:
            ahead = after - points
            turns = _cross(np.roll(ahead, 1, axis=0), ahead) != 0
            polygons.append((area, points[turns].ravel().tolist()))
    return [points for _, points in sorted(polygons, key=lambda p: -p[0])]


def _cross(a: Float[np.ndarray, "N 2"], b: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " N"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


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


def _annotations(
    folder: Path, change: Callable[[Annotation], Annotation | None] | None
) -> Iterator[Annotation]:
    """All annotations, numbered from 1: pycocotools takes a match with annotation 0 for none."""
    number = 0
    for entry in _images(folder):
        for instance in entry["found"]:
            number += 1
            changed = change(instance) if change else instance
            if changed is not None:
                yield {"id": number, "image_id": entry["image"]["id"]} | changed


def _with_outlines(instance: Annotation) -> Annotation | None:
    polygons = outlines(instance["segmentation"])
    return instance | {"segmentation": polygons} if polygons else None


def _coco_file(
    folder: Path,
    head: Mapping[str, Any],
    change: Callable[[Annotation], Annotation | None] | None,
) -> Iterator[bytes]:
    """A COCO annotation file, a line an entry; never in memory as a whole."""
    info = {"description": "predictions of pointrend_jax"} | dict(head)
    categories = info.pop("categories")
    yield f'{{"info": {json.dumps(info)},\n"licenses": [],\n'.encode()
    yield f'"categories": {json.dumps(categories)},\n'.encode()
    yield from _array((entry["image"] for entry in _images(folder)), '"images": [\n', "\n],\n")
    yield from _array(_annotations(folder, change), '"annotations": [\n', "\n]}\n")


def _array(items: Iterable[Mapping[str, Any]], opening: str, closing: str) -> Iterator[bytes]:
    yield opening.encode()
    for i, item in enumerate(items):
        yield (",\n" if i else "").encode() + json.dumps(item, allow_nan=False).encode()
    yield closing.encode()
