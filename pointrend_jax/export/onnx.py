"""A semantic model as one ONNX file, by jax2onnx: from uint8 pixels to the label map.

What is in it is what is in a program of jax (export/program.py), the resize as Pillow does it
included; the weights are in the file. It has one canvas, and its size is kept below what a file of
protobuf may have. Instances are not converted: `REFUSED` says why.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from pointrend_jax.devices.backend import traced_for
from pointrend_jax.export.artefact import ExportedModel, manifest_of
from pointrend_jax.export.program import Canvases, image_program
from pointrend_jax.training.trees import flat

NEEDED = ("jax2onnx", "onnxruntime", "onnx")
REFUSED = (
    "an ONNX export has label maps alone: of the network of instances jax2onnx does not convert "
    "the scatter by which NMS writes the boxes that it keeps (docs/export.md); export this model "
    "without --format onnx."
)
# Of protobuf, less what is not weights.
_MOST_BYTES = 2**31 - 2**26
# Bytes of a constant that are worth two operations.
_LONG = 2**12
_INPUTS = ("pixels", "original_hw", "image_hw")


def check_onnx(task: str | None, num_programs: int | None) -> None:
    """Raises ValueError for what cannot be written as ONNX; None of what is not known yet."""
    if task not in (None, "semantic"):
        raise ValueError(REFUSED)
    if num_programs not in (None, 1):
        raise ValueError(
            f"an ONNX file has one program, and these options ask for {num_programs}; give one "
            "--canvas that holds all images (and one --largest)."
        )
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"an ONNX export needs {' and '.join(missing)}: pip install 'pointrend_jax[onnx]'"
        )


def write_onnx(file: Path, model: ExportedModel, canvases: Sequence[Canvases]) -> dict[str, Any]:
    """Writes the file; what it says of itself, as a manifest does.

    Args:
      file: is overwritten. canvases: the one that it is made for.
    Raises: ValueError if the weights are too many for a file of ONNX.
    """
    jax2onnx, onnx = (import_module(name) for name in ("jax2onnx", "onnx"))
    (own,) = canvases
    weights: dict[str, jax.Array] = jax.device_put(dict(flat(model.variables)))
    size = sum(array.nbytes for array in weights.values())
    if size > _MOST_BYTES:
        raise ValueError(
            f"an ONNX file has up to {_MOST_BYTES} bytes of weights, and these are {size}; export "
            "this model without --format onnx."
        )
    shapes = [
        jax.ShapeDtypeStruct((*own.largest, 3), jnp.uint8),
        *[jax.ShapeDtypeStruct((2,), jnp.int32)] * 2,
    ]
    function = _traced(model, weights, own, shapes)
    # They warn of plugins for other libraries, and of shapes that they leave open.
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    converted = jax2onnx.to_onnx(
        function, shapes, model_name=model.config.name or "pointrend_jax", return_mode="proto",
        input_names=_INPUTS, output_names=("labels",),
    )  # fmt: skip
    _keep_repeated_once(onnx, converted.graph)
    (height, width), (high, wide) = own.network, own.largest
    program = {
        "platform": "onnx",
        "canvas": own.network,
        "largest": own.largest,
        "file": f"onnx_{height}x{width}_of_{high}x{wide}",
    }
    manifest = manifest_of(model, [program]) | {"weights": "float32"}
    onnx.helper.set_model_props(converted, {"pointrend_jax": json.dumps(manifest)})
    onnx.save_model(converted, str(file), format="protobuf")
    return manifest


def _keep_repeated_once(onnx: Any, graph: Any) -> None:
    """Constants that repeat along an axis, which the converter writes at full length, are expanded
    when the model is loaded."""
    kept = []
    for tensor in graph.initializer:
        array = whole = onnx.numpy_helper.to_array(tensor)
        for axis in range(array.ndim):
            first = array.take([0], axis) if array.shape[axis] else array
            array = first if (array == first).all() else array
        if whole.nbytes < _LONG or array.nbytes == whole.nbytes:
            kept.append(tensor)
            continue
        names = [f"{tensor.name}_once", f"{tensor.name}_shape"]
        values = np.ascontiguousarray(array), np.asarray(whole.shape, np.int64)
        kept += map(onnx.numpy_helper.from_array, values, names)
        graph.node.insert(0, onnx.helper.make_node("Expand", names, [tensor.name]))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _keep_repeated_once(onnx, attribute.g)


def _traced(
    model: ExportedModel, weights: Mapping[str, jax.Array], own: Canvases, shapes: Sequence[Any]
) -> Any:
    """The program as a function whose trace is made: while jax2onnx converts, it puts functions of
    its own in the place of flax's and jax's."""
    data = model.config.data
    program = image_program(model.task, own, min_size=data.eval_min_size, max_size=data.max_size)

    def labels(*arguments: Any) -> Any:
        return program(weights, *arguments)["labels"]

    with traced_for("onnx"):
        function = jaxpr_as_fun(jax.make_jaxpr(labels)(*shapes))
    return lambda *arguments: function(*arguments)[0]
