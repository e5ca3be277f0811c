"""The images to predict: read once, named apart, and none that has been predicted already."""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from pointrend_jax.console import tell
from pointrend_jax.data.rasters import SUFFIXES, RasterImage, is_stored_rgb
from pointrend_jax.data.tiff_tags import is_placed, place_beside
from pointrend_jax.messages import first
from pointrend_jax.pixel_format import PHOTO, PixelFormat
from pointrend_jax.predict.formats import result_paths
from pointrend_jax.predict.images import read_file
from pointrend_jax.predict.npy_file import ARRAY, NpyImage
from pointrend_jax.predict.raster_labels import check_places
from pointrend_jax.predict.set_ids import SetIds
from pointrend_jax.predict.sources import ImageSource
from pointrend_jax.predict.video import read_frames
from pointrend_jax.results.predictions import predicted_files
from pointrend_jax.storage import check_workdir, readable
from pointrend_jax.workers import in_order

_Result = TypeVar("_Result")
# Decoded images that wait to be predicted, and as many to be written: threads are not to fill the
# memory with large photos, however many cores there are.
FILES_AHEAD = 4


class NamedFile(NamedTuple):
    """An image, and what its results are called.

    Attributes:
      name: of its results: its stem, unless two images share it.
      file_name: of the image in files of results: in a data set that of its annotation file, of a
        frame `name`.
    """

    name: str
    source: ImageSource
    file_name: str


def check_files(
    sources: Sequence[ImageSource],
    output: Path,
    *,
    formats: Sequence[str],
    task: str,
    pixels: PixelFormat = PHOTO,
    tiled: bool = False,
    ids: SetIds | None = None,
    explained: bool = False,
    resume: bool = False,
) -> list[NamedFile]:
    """The images to predict, with the names of their results.

    All files are decoded once, before anything slow happens; videos have been, by `find_images`.

    Args:
      formats: what will be written. task: `config.task` of the model.
      pixels: what the images must have. tiled: whether they are predicted in tiles.
      ids: of the data set that the images are of.
      explained: whether pictures of the rendering will be drawn too.
      resume: images whose predictions `output` holds are left out, and counted.
    Raises: ValueError if an image cannot be read or is not of the set, names clash, `output` cannot
      be written or, unless `resume`, holds predictions of an image.
    """
    names = _output_names(sources)
    if ids:
        named = ids.match([source.image_path for source in sources])
    else:
        # Of two videos frames may be called alike where their results are not.
        rows = zip(names, sources, strict=True)
        named = [source.path.name if source.frame is None else name for name, source in rows]
    files = [NamedFile(*entry) for entry in zip(names, sources, named, strict=True)]
    check_workdir(output, "--output")
    endings = [_labels_ending(source, pixels, tiled=tiled) for source in sources]
    results = [
        result_paths(name, formats, task, in_parts=ending != "")
        for name, ending in zip(names, endings, strict=True)
    ]
    _check_results(files, results, output, explained=task if explained else "")
    files = _not_yet_predicted(files, results, output, task, resume=resume)
    problems = [
        problem
        for file in files
        if (problem := _problem(file.source, formats, pixels, tiled=tiled))
    ]
    if problems:
        raise ValueError("no image was predicted:\n  " + "\n  ".join(problems))
    return files


def labels_endings(files: Sequence[NamedFile], pixels: PixelFormat, *, tiled: bool) -> set[str]:
    """How files of labels end of the images that are read in parts, and "" if others are not."""
    return {_labels_ending(file.source, pixels, tiled=tiled) for file in files}


def is_read_in_parts(path: Path, pixels: PixelFormat) -> bool:
    """Whether a file is predicted in tiles without being decoded as a whole.

    .npy files are, and those TIFF files that are no photos, or photos of three channels of uint8
    that lie on the earth; other photos, as grey ones or those with transparency, are made RGB.
    Raises: ValueError if a TIFF file on the earth is damaged.
    """
    if path.suffix.lower() not in SUFFIXES:
        return path.suffix == ARRAY
    return not pixels.is_photo or (is_placed(path) and is_stored_rgb(path))


def open_in_parts(path: Path, pixels: PixelFormat) -> NpyImage | RasterImage:
    """Such a file. Raises: ValueError if it has other pixels, or is damaged."""
    return NpyImage(path, pixels) if path.suffix == ARRAY else RasterImage(path, pixels)


def read_inputs(
    files: Sequence[NamedFile], pixels: PixelFormat = PHOTO, *, number: int = FILES_AHEAD
) -> Iterator[np.ndarray]:
    """The images as [H, W, C], one by one; a video is decoded once for frames in a row.

    Args: number, of files that threads read ahead.
    Raises: ValueError, when its turn comes, if one cannot be read any more.
    """
    by_path = groupby((file.source for file in files), lambda source: source.path)
    frames = ((path, [x.frame for x in group if x.frame is not None]) for path, group in by_path)

    def read(file: tuple[Path, list[int]]) -> Iterable[np.ndarray]:
        path, numbers = file
        return read_frames(path, numbers) if numbers else [read_file(path, pixels)]

    for images in in_order(read, frames, number=number):
        yield from images


def beside_predictions(
    images: Iterable[np.ndarray], stream: Callable[[Iterable[np.ndarray]], Iterator[_Result]]
) -> Iterator[tuple[np.ndarray, _Result]]:
    """Each image, and what the `stream` of a predictor, which takes some ahead, gives of it."""
    taken: deque[np.ndarray] = deque()

    def take() -> Iterator[np.ndarray]:
        for image in images:
            taken.append(image)
            yield image

    for result in stream(take()):
        yield taken.popleft(), result


def _labels_ending(source: ImageSource, pixels: PixelFormat, *, tiled: bool) -> str:
    """How the file of labels ends of an image that is read in parts; "" of another."""
    try:
        in_parts = tiled and is_read_in_parts(source.path, pixels)
    except ValueError:
        # A damaged file, of which `_problem` tells.
        return ""
    return (ARRAY if source.path.suffix == ARRAY else ".tif") if in_parts else ""


def _output_names(sources: Sequence[ImageSource]) -> list[str]:
    stems = Counter(source.stem for source in sources)
    names = [s.long_stem if stems[s.stem] > 1 else s.stem for s in sources]
    twice = _repeated(names)
    if twice:
        raise ValueError(
            f"several images are called {first(twice)} and their results "
            "would overwrite each other; predict them with different --output folders."
        )
    return names


def _check_results(
    files: Sequence[NamedFile],
    results: Sequence[list[list[str]]],
    output: Path,
    *,
    explained: str,
) -> None:
    """Raises ValueError if a result would overwrite an image, or another result.

    Args:
      results: of each file, as `result_paths` gives them.
      explained: the task of the model if its rendering is shown too, else "".
    """
    written = [path for kinds in results for paths in kinds for path in paths]
    if explained == "semantic":
        written += [f"{file.name}_explain.png" for file in files]
    inputs = {file.source.path.resolve() for file in files}
    # Those of one folder of masks lie within it.
    inputs |= {path.parent for path in inputs}
    folder = output.resolve()
    over = [result for result in written if folder / result in inputs] + _repeated(written)
    if explained == "instance":
        names = {file.name for file in files}
        # These pictures have a number each.
        over += sorted(f"{n}.png" for n in names if re.sub(r"_explain_\d+$", "", n) in names - {n})
    if over:
        raise ValueError(
            f"the results {first(over)} would overwrite an image or each other; "
            "choose another --output folder, or predict the images one by one."
        )


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _not_yet_predicted(
    files: Sequence[NamedFile],
    results: Sequence[list[list[str]]],
    output: Path,
    task: str,
    *,
    resume: bool,
) -> list[NamedFile]:
    """The files without results in `output`.

    Args:
      results: of each file, as `result_paths` gives them.
    Raises: ValueError if there are results of others, or of other images of these names.
    """
    predicted = predicted_files(output) if task == "instance" else {}
    of_others = {picture: name for name, picture in predicted.items()}
    left, done, stopped = [], [], []
    for file, kinds in zip(files, results, strict=True):
        there = [[path for path in paths if (output / path).exists()] for paths in kinds]
        # The journal, written last, says which instances are done. Label maps have no journal.
        if readable(file.file_name) in predicted if task == "instance" else all(there):
            done.append(readable(file.file_name))
            continue
        if readable(file.name) in of_others:
            raise ValueError(
                f"the results of {file.source} would replace those of "
                f"{of_others[readable(file.name)]} in {output}; choose another --output."
            )
        left.append(file)
        stopped += [paths[0] for paths in there if paths][:1]
    if (done or stopped) and not resume:
        raise ValueError(
            f"{output} holds results of {len(done) + len(stopped)} of the {len(files)} images "
            f"already ({first(done + stopped)}), which would be replaced; choose another "
            "--output, or leave these images out: --resume does so."
        )
    if done:
        tell(f"{len(done)} of {len(files)} images are left out: predicted already")
    if stopped:
        tell(f"drawn again, as a stop left no prediction of it: {first(stopped)}")
    return left


def _problem(
    source: ImageSource, formats: Sequence[str], pixels: PixelFormat, *, tiled: bool
) -> str:
    """What is wrong with an image, in words."""
    is_frame = source.frame is not None
    if is_frame and not pixels.is_photo:
        return f"{source} has photos, the model takes a {pixels}."
    try:
        in_parts = tiled and not is_frame and is_read_in_parts(source.path, pixels)
        if in_parts or source.path.suffix == ARRAY:
            parts = open_in_parts(source.path, pixels)
        else:
            parts = None if is_frame else read_file(source.path, pixels)
        if tiled and not is_frame and source.path.suffix.lower() in SUFFIXES:
            is_raster = isinstance(parts, RasterImage)
            _tell_of_place_beside(
                source.path, placed=parts.is_placed if is_raster else is_placed(source.path)
            )
        if "geojson" in formats:
            if not (tiled and isinstance(parts, RasterImage)):
                return (
                    f"{source} has no place on the earth: geojson is of GeoTIFF files, with "
                    "--tile, and photos among them must have three channels of uint8."
                )
            check_places(parts)
    except ValueError as error:
        return str(error)
    return ""


def _tell_of_place_beside(path: Path, *, placed: bool) -> None:
    """Says that labels will lie nowhere where only another file may say where an image lies.

    Args: placed, whether the image itself says so.
    """
    beside = None if placed else place_beside(path)
    if beside:
        tell(
            f"{path} does not say where it lies, and {beside.name} beside it is not read: its "
            "labels lie nowhere (gdal_translate FILE WHOLE puts the place into a file)"
        )
