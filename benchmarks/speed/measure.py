"""How things are measured: medians after a warm-up, and the facts of the machine beside them."""

import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def seconds(function: Callable[[], Any], repeats: int = 5) -> dict[str, float]:
    """Median, quartiles and fastest of `repeats` calls; `first` is one before them, which may
    compile.
    """
    start = time.perf_counter()
    jax.block_until_ready(function())
    first, times = time.perf_counter() - start, []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    low, high = quartiles(times)
    middle = {"lower_quartile": low, "median": median(times), "upper_quartile": high}
    return {"first": first, "fastest": min(times)} | middle


def quartiles(times: Sequence[float]) -> tuple[float, float]:
    """The lower and the upper one, between the fastest and the slowest."""
    low, high = np.percentile(times, (25, 75)).tolist()
    return low, high


def product_rate() -> float:
    """GFLOP/s of a 1536 x 1536 float32 product, the fastest of 20: the machine's limit, now."""
    x = jnp.asarray(np.random.default_rng(0).random((1536, 1536)), jnp.float32)
    product = jax.jit(lambda x: x @ x)
    return 2 * 1536**3 / seconds(lambda: product(x), 20)["fastest"] / 1e9


def peak_mib() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def flops(function: Callable[..., Any], *arguments: Any) -> float:
    """The compiler's count of floating-point operations; a loop's body counts once."""
    cost: Any = jax.jit(function).lower(*arguments).cost_analysis()
    return float(cost["flops"])


def layer_outputs(function: Callable[..., Any], *arguments: Any) -> int:
    """Numbers that matrix products and convolutions put out: the paper's activations."""

    def of_jaxpr(jaxpr: Any) -> int:
        total = 0
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("dot_general", "conv_general_dilated"):
                total += sum(int(np.prod(out.aval.shape)) for out in equation.outvars)
            for value in equation.params.values():
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    total += of_jaxpr(inner)
        return total

    return of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    model = ""
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "device": jax.devices()[0].device_kind,
        "processor": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "load": round(os.getloadavg()[0], 2),
    }
