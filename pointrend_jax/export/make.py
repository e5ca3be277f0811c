"""From a model to an export that has been compared with it, and a report of both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pointrend_jax.console import tell, tell_progress
from pointrend_jax.data.batches.transforms import check_buckets, choose_bucket, resized_hw
from pointrend_jax.export import reader
from pointrend_jax.export.artefact import (
    WEIGHTS,
    ExportedModel,
    canvases_in_order,
    write_artefact,
)
from pointrend_jax.export.covering import Programs
from pointrend_jax.export.gate import LIMITS, Gate, Predicted, check_export
from pointrend_jax.export.onnx import check_onnx, write_onnx
from pointrend_jax.export.program import PLATFORMS, Canvases
from pointrend_jax.ops.pillow_resize import MAX_SIDE
from pointrend_jax.results.instances import PredictedInstances
from pointrend_jax.storage import check_workdir, write_json

_SUFFIXES = {"jax": ".zip", "onnx": ".onnx"}
READERS = {"jax": reader.__file__, "onnx": str(Path(reader.__file__).with_name("onnx_reader.py"))}
# Original images up to so many pixels a side, unless a canvas of the network is longer.
_LARGEST_SIDE = 1024


class ExportOptions(NamedTuple):
    """What an export is made for.

    Attributes:
      largest: sizes (height, width) in pixels up to which original images are taken, each by
        programs of its own; None for a square as long as the longest canvas, 1024 at least. Time
        and memory of pasting follow the smallest that holds an image.
      canvases: (height, width) of the network's input; None for those of `config.data.buckets`.
      platforms: of "cpu", "cuda" and "tpu".
      weights: what they are kept as: "float32", or "float16" or "bfloat16", whose export is
        measured beside `predict` and kept whatever it differs in, but for NaN and infinity.
      format: "jax", a zip of programs; or "onnx", of which `platforms` and `weights` say nothing.
    """

    largest: Sequence[tuple[int, int]] | None = None
    canvases: Sequence[tuple[int, int]] | None = None
    platforms: Sequence[str] = tuple(PLATFORMS)
    weights: str = "float32"
    format: str = "jax"


def export_model(
    file: Path,
    model: ExportedModel,
    predict: Callable[[np.ndarray], Any],
    photos: Sequence[np.ndarray],
    options: ExportOptions,
    predict_bytes: Callable[[np.ndarray], int | None],
) -> dict[str, Any]:
    """Writes `file`, if it gives what `predict` gives, and its report beside it; the report.

    With weights of half the bits it is written whatever numbers it gives.

    Args:
      photos: uint8 [H, W, 3] in RGB order, that both predict. predict_bytes: of a photo, what the
        program of `predict` takes.
    Raises: ValueError, before long work, for options that do not fit the model, the photos or this
      machine, or if `file` is there; after it, if the export differs. Then nothing is left.
    """
    chosen = _canvases(model, options)
    check_export_options(file, options, model.config.task, len(chosen))
    _check_photos(photos, chosen, model)
    programs = Programs(
        chosen, min_size=model.config.data.eval_min_size, max_size=model.config.data.max_size
    )
    chosen = [own for own in chosen if _is_reached(own, programs)]
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        if options.format == "onnx":
            tell_progress("converting to ONNX, which takes minutes")
            manifest = write_onnx(unfinished, model, chosen)
        else:
            manifest = write_artefact(unfinished, model, chosen, options.platforms, options.weights)
        compared = programs.photos(photos, lambda photo: _finds_anything(predict(photo)))
        tell_progress(f"comparing the export with predict() on {len(compared)} photos")
        must_equal = options.weights == "float32"
        gate = check_export(
            unfinished, predict, compared, reader_file=READERS[options.format],
            within_limits=must_equal,
            # One process alone may hold a TPU, and that is this one.
            in_this_process=options.format == "jax" and jax.default_backend() == "tpu",
        )  # fmt: skip
        size, of_predict = unfinished.stat().st_size, predict_bytes(photos[0])
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    report = _report(file, gate, size, manifest, of_predict, LIMITS if must_equal else {})
    write_json(file.with_suffix(".report.json"), report)
    tell("\n".join(_table(report)))
    return report


def check_export_options(
    file: Path,
    options: ExportOptions,
    task: str | None = None,
    num_programs: int | None = None,
) -> None:
    """Raises ValueError for what needs no photos to be refused, such as a file that is there.

    Args:
      task: of the model's config. num_programs: of a platform. None where it is not known yet.
    """
    if options.format not in _SUFFIXES:
        raise ValueError(f"--format must be jax or onnx, got {options.format!r}.")
    if file.suffix != _SUFFIXES[options.format]:
        raise ValueError(f"--output {file} must end in {_SUFFIXES[options.format]}.")
    if file.exists():
        raise ValueError(f"{file} is there already; choose another --output.")
    if options.weights not in WEIGHTS:
        raise ValueError(f"--weights must be one of {', '.join(WEIGHTS)}, got {options.weights!r}.")
    check_workdir(file.parent, "the folder of --output")
    if options.format == "onnx":
        if options.weights != "float32":
            raise ValueError("--weights of an ONNX export are float32; leave it out.")
        check_onnx(task, num_programs)
        return
    if find_spec("flatbuffers") is None:
        raise ValueError("an export needs flatbuffers: pip install 'pointrend_jax[export]'")
    platforms = options.platforms
    unknown = [platform for platform in platforms if platform not in PLATFORMS]
    if unknown or not platforms:
        raise ValueError(
            f"--platforms must be some of {', '.join(PLATFORMS)}, got {', '.join(platforms)!r}."
        )
    here = jax.default_backend().replace("gpu", "cuda")
    if here not in platforms:
        raise ValueError(
            f"--platforms must have {here}, that of this machine, on which the export is compared "
            "with predict()."
        )


def _canvases(model: ExportedModel, options: ExportOptions) -> list[Canvases]:
    networks = model.config.data.buckets if options.canvases is None else options.canvases
    # Lists in a checkpoint's JSON.
    networks = sorted({(int(height), int(width)) for height, width in networks})
    check_buckets(networks)
    side = max(_LARGEST_SIDE, *(side for canvas in networks for side in canvas))
    largest = options.largest or [(side, side)]
    for size in largest:
        if not 1 <= min(size) <= max(size) <= MAX_SIDE:
            raise ValueError(
                f"--largest must have sides of 1 to {MAX_SIDE} pixels, got {size[0]}x{size[1]}."
            )
    return canvases_in_order(
        Canvases(network, size) for size in set(largest) for network in networks
    )


def _is_reached(own: Canvases, programs: Programs) -> bool:
    """Whether any image goes to a program; says so where none does."""
    if programs.largest_images(own):
        return True
    (height, width), (high, wide) = own.network, own.largest
    tell(
        f"no image of up to {high}x{wide} pixels goes to the canvas {height}x{width}, so there is "
        "no program for it."
    )
    return False


def _finds_anything(predicted: Predicted) -> bool:
    return not isinstance(predicted, PredictedInstances) or len(predicted) > 0


def _check_photos(
    photos: Sequence[np.ndarray], canvases: Sequence[Canvases], model: ExportedModel
) -> None:
    """Raises ValueError for a photo that no program takes."""
    data, largest = model.config.data, sorted({own.largest for own in canvases})
    networks = sorted({own.network for own in canvases})
    for number, photo in enumerate(photos):
        height, width = photo.shape[:2]
        if not any(height <= high and width <= wide for high, wide in largest):
            raise ValueError(
                f"photo {number} has {height} x {width} pixels (height x width), and the export "
                f"takes originals of up to {largest}; give a --largest that holds it, or other "
                "--photos."
            )
        hw = resized_hw((height, width), data.eval_min_size, data.max_size)
        if choose_bucket(hw, networks) is None:
            raise ValueError(
                f"photo {number} of {height} x {width} pixels (height x width) is resized to "
                f"{hw[0]} x {hw[1]}, which fits none of the canvases {networks}; give a --canvas "
                "that holds it, or other --photos."
            )


def _report(
    file: Path, gate: Gate, size: int, manifest: dict[str, Any], predict_bytes: int | None,
    limits: Mapping[str, float],
) -> dict[str, Any]:  # fmt: skip
    return {
        "file": file.name,
        "bytes": size,
        "programs": len(manifest["programs"]),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "weights": manifest["weights"],
        # None of weights of half the bits, which are measured.
        "limits": {kind: limits[kind] for kind in gate.differences if kind in limits},
        "predict_program_bytes": predict_bytes,
        **gate._asdict(),
    }


def _table(report: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    names = {
        "mask": "masks, symmetric difference of their union",
        "score": "scores",
        "box": "boxes, pixels",
        "labels": "labels, share of the pixels",
    }
    what = f"{report['photos']} photos"
    if "box" in report["differences"]:
        what += f", {report['objects']} objects"
    yield f"{what}: difference from predict(), weights as {report['weights']}"
    yield f"  {'':<44}{'largest':>10}{'mean':>10}{'limit':>10}"
    for kind, value in report["differences"].items():
        numbers = (value, report["means"][kind], report["limits"].get(kind))
        shown = ("-" if number is None else f"{number:.2g}" for number in numbers)
        yield f"  {names[kind]:<44}" + "".join(f"{text:>10}" for text in shown)
    if report["unmatched"]:
        yield f"  objects that one of the two has not: {report['unmatched']}"
    where = f"on {report['device']}, jax {report['jax']}"
    yield f"{where:<46}{'predict()':>10}{'export':>10}"
    yield (
        f"  {'a photo, ms':<44}{1e3 * report['predict_seconds']:>10.0f}"
        f"{1e3 * report['seconds']:>10.0f}"
    )
    of_programs = (_mib(report[f"{who}program_bytes"]) for who in ("predict_", ""))
    yield f"  {'memory of the program, MiB':<44}" + "".join(f"{m:>10}" for m in of_programs)
    yield f"  {'peak of the process, MiB':<44}{'':>10}{_mib(report['peak_bytes']):>10}"
    yield f"{report['programs']} programs, {_mib(report['bytes'])} MiB: {report['file']}"
    yield f"  compared, of this machine's platform: {len(report['compared'])}"
    for program in report["compared"]:
        took = f"{len(program['photos'])} photos"
        if "box" in report["differences"]:
            took += f", {program['objects']} objects"
        yield f"  {program['file']:<44}  {took}"


def _mib(number: int | None) -> str:
    return "-" if number is None else f"{number / 2**20:.0f}"
