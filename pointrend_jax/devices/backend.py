"""The one place that knows for which kind of device a program is traced, and what is fastest there.

Several operations have two forms that are equal up to rounding. Each asks `forms()` while it is
traced; the tables below are all there is to know about which program a CPU, a GPU or a TPU runs.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from types import MappingProxyType
from typing import NamedTuple

import jax


class Forms(NamedTuple):
    """Which of equal forms a program takes.

    Attributes:
      convolves_by_products: grouped and depthwise convolutions, and the kernel's gradient of a 3x3
        one on a large map, are written as products of shifted maps (layers/grouped_conv.py,
        layers/conv.py); otherwise they are XLA's convolutions.
      samples_by_rows: points read four cells each, region by region, and gradients are added so
        too; otherwise small maps are sampled by a product with interpolation weights, and
        gradients are added all at once (ops/points.py).
      pools_by_windows: ROIAlign is a product with windows of the maps (ops/roi_windows.py);
        otherwise a loop over samples (ops/roi_loop.py).
      pastes_masks: the device pastes masks onto the original image and sends where they change
        (ops/mask_changes.py); otherwise it sends them as they are, and the host pastes
        (masks/paste.py).
      regions_at_a_time: of the mask head at inference, unless a config says how many.
    """

    convolves_by_products: bool
    samples_by_rows: bool
    pools_by_windows: bool
    pastes_masks: bool
    regions_at_a_time: int


# Measured (docs/benchmarks.md): adding and reading in the order of memory is what a CPU's caches
# want; four regions are what they hold.
_CPU = Forms(
    convolves_by_products=True, samples_by_rows=True, pools_by_windows=False, pastes_masks=False,
    regions_at_a_time=4,
)  # fmt: skip
# Windows and pasting are chosen by their structure (no loop waits for the host, few and large
# kernels, little to send); they have not been measured on a GPU or a TPU.
_GPU = Forms(
    convolves_by_products=False, samples_by_rows=False, pools_by_windows=True, pastes_masks=True,
    regions_at_a_time=32,
)  # fmt: skip
# The end of pasting reads single numbers at computed places; what a TPU takes for it is not known.
_TPU = _GPU._replace(pastes_masks=False)
_FORMS = MappingProxyType({"cpu": _CPU, "gpu": _GPU, "tpu": _TPU})
_traced_for: ContextVar[Forms | None] = ContextVar("traced_for", default=None)


def forms() -> Forms:
    """Those of the default backend, or of the platform that `traced_for` names."""
    return _traced_for.get() or _FORMS[jax.default_backend()]


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Within, programs are traced as for "cpu", "gpu" or "tpu", wherever they run.

    What `jax.jit` has traced already keeps its form. Raises KeyError for another platform.
    """
    token = _traced_for.set(_FORMS[platform])
    try:
        yield
    finally:
        _traced_for.reset(token)
