"""The one place that knows for which kind of device a program is traced, and what is fastest there.

Several operations have two forms that are equal up to rounding. Each asks `forms()` while it is
traced; the tables below are all there is to know about which program a CPU, a GPU or a TPU runs.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Literal, NamedTuple

import jax


class Forms(NamedTuple):
    """Which of equal forms a program takes.

    Attributes:
      convolves_by_products: grouped and depthwise convolutions, and the kernel's gradient of a 3x3
        one on a large map, are written as products of shifted maps (layers/grouped_conv.py,
        layers/conv.py); otherwise they are XLA's convolutions.
      convolves_by_columns: a 3x3 convolution reads its three columns side by side as channels, and
        the columns of the map are its batch (layers/conv.py).
      doubles_by_products: maps are doubled by products with the weights of their rows and columns
        (ops/resize.py).
      lines_up_by_products: the scores of a map's anchors, a few beside each cell, come into one row
        by a product with zeros and ones (layers/rpn.py).
      relu_keeps_result: the gradient of a ReLU reads its result, which the next layer keeps anyway,
        and not the sign of what it was given (ops/relu.py).
      stem_in_blocks: the stem of a ResNet works on blocks of 4x4 pixels (layers/stem_blocks.py).
      samples_by_rows: points read four cells each, region by region, and gradients are added so
        too; otherwise small maps are sampled by a product with interpolation weights, and
        gradients are added all at once (ops/points.py).
      adds_in_order: the gradients of points are sorted by the row that they are added to, and the
        sum of a point's four rows is finished before it gets its shape (ops/points.py).
      pools_by: what ROIAlign goes over: "samples", one after another (ops/roi_loop.py), or by
        products "windows" of the maps (ops/roi_windows.py) or "tiles" of them (ops/roi_tiles.py).
      pastes_masks: the device pastes masks onto the original image and sends where they change
        (ops/mask_changes.py); otherwise it sends them as they are, and the host pastes
        (masks/paste.py).
      takes_by_masks: one of several channels or rows is the sum of all after the others were set to
        0, so that its gradient adds nothing at computed places (`take_own` of ops/scatter.py), and
        gradients of cells that several read are added by a product (`take_cells`).
      works_on_all_rows: the mask head is applied to every slot for a detection; otherwise to those
        that hold one, by a loop that waits for their number (ops/chunks.py).
      trains_on_all_slots: the losses of the mask head are those of every slot for a foreground
        sample; otherwise of the first half or quarter of an image's slots where these hold all of
        its samples, as they do in many batches. That saves work, and is a branch with a program of
        its own for each number of slots, through which all that its gradient reads is carried
        (`slot_numbers` of ops/chunks.py).
      regions_at_a_time: of the mask head at inference, unless a config says how many.
      selects_by: how the k largest of many numbers are found (ops/top_k.py): by a "sort" of all of
        them, or by a "count" of those that reach a threshold.
      reduces_at_once: which ground truth is a box's best, its overlap, and whether the box is the
        best of one come of one reduction (ops/matching.py); otherwise of three.
      nms_block, nms_rounds: candidates of each image that NMS looks at in one round of its loop, a
        multiple of 32, and how often each such block is gone over (ops/nms.py).
      labels_in_bytes: label maps are made as bytes, by a branch that blends no neighbours where an
        image was not resized; otherwise as int32 without a branch, and bytes in the end
        (ops/resize.py).
      pools_by_shifts: the stem's pooling is the largest of nine shifted maps (layers/resnet.py).
      adds_exactly: gradients that many readers of a row share have the same bits in whatever order
        they are added (ops/scatter.py); set by `deterministic`, never by the kind of device.
    """

    convolves_by_products: bool
    convolves_by_columns: bool
    doubles_by_products: bool
    lines_up_by_products: bool
    relu_keeps_result: bool
    stem_in_blocks: bool
    samples_by_rows: bool
    adds_in_order: bool
    pools_by: Literal["samples", "windows", "tiles"]
    pastes_masks: bool
    takes_by_masks: bool
    works_on_all_rows: bool
    trains_on_all_slots: bool
    regions_at_a_time: int
    selects_by: Literal["sort", "count"]
    reduces_at_once: bool
    nms_block: int
    nms_rounds: int
    labels_in_bytes: bool = True
    pools_by_shifts: bool = False
    adds_exactly: bool = False


# Measured (docs/benchmarks.md): adding and reading in the order of memory is what a CPU's caches
# want; four regions are what they hold. A round of NMS on a GPU waits for the host, so few large
# ones are wanted there.
_CPU = Forms(
    convolves_by_products=True, convolves_by_columns=False, doubles_by_products=False,
    lines_up_by_products=False, relu_keeps_result=False, stem_in_blocks=False,
    samples_by_rows=True, adds_in_order=False, pools_by="samples", pastes_masks=False,
    takes_by_masks=False, works_on_all_rows=False, trains_on_all_slots=False, regions_at_a_time=4,
    selects_by="sort", reduces_at_once=False, nms_block=128, nms_rounds=4,
)  # fmt: skip
# Windows, pasting and counting are chosen by their structure (no loop waits for the host, few and
# large kernels, little to send or to sort); they have not been measured on a GPU or a TPU.
_GPU = Forms(
    convolves_by_products=False, convolves_by_columns=False, doubles_by_products=False,
    lines_up_by_products=False, relu_keeps_result=False, stem_in_blocks=False,
    samples_by_rows=False, adds_in_order=False, pools_by="windows", pastes_masks=True,
    takes_by_masks=False, works_on_all_rows=True, trains_on_all_slots=False, regions_at_a_time=32,
    selects_by="count", reduces_at_once=False, nms_block=1024, nms_rounds=8,
)  # fmt: skip
# A TPU decides by itself whether a loop goes on. The end of pasting reads single numbers at
# computed places; what a TPU takes for it is not known. Of an image or two its compiler would split
# the map of a convolution into a batch, by several copies; `python -m benchmarks.tpu` tells what it
# expects of each form.
_TPU = _GPU._replace(
    convolves_by_columns=True, doubles_by_products=True, lines_up_by_products=True,
    relu_keeps_result=True, stem_in_blocks=True, adds_in_order=True, pools_by="tiles",
    pastes_masks=False, takes_by_masks=True, works_on_all_rows=False, trains_on_all_slots=True,
    selects_by="sort", reduces_at_once=True,
)  # fmt: skip
# What jax2onnx 0.17.1 converts and onnxruntime runs: no loop or branch of uint8, whose results it
# gives another type, and no pooling of a padded map, whose size onnxruntime refuses. Its time
# grows with the square of the operations, and products of shifted maps are many.
_ONNX = _CPU._replace(convolves_by_products=False, labels_in_bytes=False, pools_by_shifts=True)
_FORMS = MappingProxyType({"cpu": _CPU, "gpu": _GPU, "tpu": _TPU})
_traced_for: ContextVar[Forms | None] = ContextVar("traced_for", default=None)
_deterministic: ContextVar[bool] = ContextVar("deterministic", default=False)
# With the first, XLA takes no kernel of cuDNN or cuBLAS, and no form of a scatter, that gives other
# bits at the next call; with the second it takes the kernels that it knows to be good instead of
# those that a measurement found fastest, which may be others in the next process. Source: OpenXLA,
# docs/determinism.md.
_SAME_KERNELS = MappingProxyType(
    {"xla_gpu_exclude_nondeterministic_ops": True, "xla_gpu_autotune_level": "0"}
)
# On a GPU loops and branches are inside of CUDA graphs too, so that the device and not the host
# decides whether another round follows. On a TPU operations that are alike, such as those of the
# blocks of a ResNet, are one piece of code that is called.
_OPTIONS: Mapping[str, Mapping[str, str | bool]] = MappingProxyType(
    {
        "gpu": {
            "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,"
            "WHILE,DYNAMIC_SLICE_FUSION"
        },
        "tpu": {"xla_tpu_enable_deduplicated_calls": True},
    }
)


def forms() -> Forms:
    """Those of the default backend, or of the platform that `traced_for` names.

    Raises: ValueError for a backend that has none.
    """
    found = _traced_for.get() or _forms_of(jax.default_backend())
    return found._replace(adds_exactly=_deterministic.get())


def _forms_of(platform: str) -> Forms:
    if platform not in _FORMS:
        raise ValueError(
            f"programs are written for {', '.join(_FORMS)}, and jax has the backend {platform!r}; "
            "with JAX_PLATFORMS=cpu in the environment they run on the CPU."
        )
    return _FORMS[platform]


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Within, programs are traced as for "cpu", "gpu", "tpu" or "onnx", wherever they run.

    What `jax.jit` has traced already keeps its form. Raises ValueError for another platform.
    """
    token = _traced_for.set(_ONNX if platform == "onnx" else _forms_of(platform))
    try:
        yield
    finally:
        _traced_for.reset(token)


@contextlib.contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Within, programs are traced in forms that give the same bits in every run on a GPU, if
    `wanted`. They must be compiled with its `compiler_options` too."""
    token = _deterministic.set(wanted)
    try:
        yield
    finally:
        _deterministic.reset(token)


def host_is_free() -> bool:
    """Whether the cores of the host have nothing to do while a program runs: on a CPU they are the
    device, and a network fills them."""
    return jax.default_backend() != "cpu"


def compiler_options(
    platform: str | None = None, *, deterministic: bool = False
) -> dict[str, str | bool]:
    """What every `jax.jit` of a model is given as `compiler_options`; nothing on a CPU.

    Options that flags in the environment name are left to these, but for those of `deterministic`.

    Args:
      platform: instead of the default backend's.
      deterministic: a GPU runs the same kernels in every process, as what is traced in
        `deterministic` needs; elsewhere that is so anyway.
    """
    platform = platform or jax.default_backend()
    flags = " ".join(os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS"))
    named = {flag.split("=")[0].removeprefix("--") for flag in flags.split()}
    options = {n: value for n, value in _OPTIONS.get(platform, {}).items() if n not in named}
    return {**options, **(_SAME_KERNELS if deterministic and platform == "gpu" else {})}
