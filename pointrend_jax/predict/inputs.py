"""The image files to predict: read once, named apart, and none that has been predicted already."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pointrend_jax.data.images import read_image
from pointrend_jax.evaluation.predictions import predicted_files
from pointrend_jax.evaluation.set_ids import SetIds
from pointrend_jax.predict.npy_file import NpyImage
from pointrend_jax.storage import check_workdir, readable

# Images that may be larger than the memory.
ARRAY = ".npy"
# What is written for an image, behind its name.
_RESULT_ENDS = (".png", "_labels.png", "_labels.npy", "_explain.png")


class NamedFile(NamedTuple):
    """An image file, and what its results are called.

    Attributes:
      name: of its pictures: its stem, unless two images share it.
      file_name: of the image in files of results; in a data set that of its annotation file.
    """

    name: str
    path: Path
    file_name: str


def check_files(
    paths: Sequence[Path], output: Path, *, ids: SetIds | None = None, resume: bool = False
) -> list[NamedFile]:
    """The files to predict, with the names of their results.

    All are decoded once, before anything slow happens.

    Args:
      ids: of the data set that the images are of.
      resume: images whose predictions `output` holds are left out, and counted.
    Raises: ValueError if an image cannot be read or is not of the set, names clash, `output` cannot
      be written or, unless `resume`, holds predictions of an image.
    """
    named = ids.match(paths) if ids else [path.name for path in paths]
    files = [NamedFile(*e) for e in zip(_output_names(paths), paths, named, strict=True)]
    check_workdir(output, "--output")
    _check_results(files, output)
    files = _not_yet_predicted(files, output, resume=resume)
    problems = [problem for file in files if (problem := _problem(file.path))]
    if problems:
        raise ValueError("no image was predicted:\n  " + "\n  ".join(problems))
    return files


def read_input(path: Path) -> np.ndarray:
    """The image of a file as uint8 [H, W, 3]. Raises ValueError if it is none."""
    if path.suffix != ARRAY:
        return read_image(path)
    return NpyImage(path)[:, :]


def _output_names(paths: Sequence[Path]) -> list[str]:
    stems = Counter(path.stem for path in paths)
    names = [p.name if stems[p.stem] > 1 else p.stem for p in paths]
    twice = _repeated(names)
    if twice:
        raise ValueError(
            f"several images are called {', '.join(twice[:5])} and their results would overwrite "
            "each other; predict them with different --output folders."
        )
    return names


def _check_results(files: Sequence[NamedFile], output: Path) -> None:
    """Raises ValueError if a result would overwrite an image, or another result."""
    results = [f"{file.name}{end}" for file in files for end in _RESULT_ENDS]
    inputs = {file.path.resolve() for file in files}
    folder = output.resolve()
    over = [result for result in results if folder / result in inputs] + _repeated(results)
    names = {file.name for file in files}
    # The pictures of how an instance is rendered have a number.
    over += sorted(f"{n}.png" for n in names if re.sub(r"_explain_\d+$", "", n) in names - {n})
    if over:
        raise ValueError(
            f"the results {', '.join(over[:5])} would overwrite an image or each other; "
            "choose another --output folder, or predict the images one by one."
        )


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _not_yet_predicted(
    files: Sequence[NamedFile], output: Path, *, resume: bool
) -> list[NamedFile]:
    """The files without results in `output`.

    Raises: ValueError if there are results of others, or of other images of these names.
    """
    predicted, there = predicted_files(output), {path.name for path in output.iterdir()}
    of_others = {picture: name for name, picture in predicted.items()}
    left, done, stopped = [], [], []
    for file in files:
        results = [f"{file.name}{end}" for end in _RESULT_ENDS if f"{file.name}{end}" in there]
        # A label map and its picture; of instances there is the picture alone.
        if readable(file.file_name) in predicted or len(results) > 1:
            done.append(readable(file.file_name))
            continue
        if readable(file.name) in of_others:
            raise ValueError(
                f"the pictures of {readable(file.path)} would replace those of "
                f"{of_others[readable(file.name)]} in {output}; choose another --output."
            )
        left.append(file)
        if results:
            stopped.append(results[0])
    if (done or stopped) and not resume:
        raise ValueError(
            f"{output} holds results of {len(done) + len(stopped)} of the {len(files)} images "
            f"already ({', '.join((done + stopped)[:5])}), which would be replaced; choose another "
            "--output, or leave these images out: --resume does so."
        )
    if done:
        print(f"{len(done)} of {len(files)} images are left out: predicted already", flush=True)
    if stopped:
        print(f"drawn again, as a stop left no prediction of it: {', '.join(stopped[:5])}")
    return left


def _problem(path: Path) -> str:
    try:
        if path.suffix == ARRAY:
            NpyImage(path)
        else:
            read_image(path)
    except ValueError as error:
        return str(error)
    return ""
