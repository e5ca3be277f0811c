"""What holds in every test: two devices, checked shapes, no silent rank promotion, a compile cache.

The order matters: the environment before the import of jax, the shape hook before that of the
package. What is imported of it is imported where it is used, since the process that only hands out
tests to others would wait for it. Warnings are errors by pyproject.toml.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

# Elsewhere than on a CPU: `JAX_PLATFORMS=cuda make test`.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is most of what the tests cost, and most of that makes code fast that runs once. XLA's
# own passes stay. Those of LLVM are left out, and fusions are emitted in XLA's older way, which
# takes a third of the time, where jax has it (not from 0.11 on). Programs that tests start inherit
# both.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
if version("jaxlib").startswith("0.10."):
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false".strip()

import jax
import pytest
from filelock import FileLock
from hypothesis import settings
from jaxtyping import install_import_hook

import tests.typechecker  # noqa: F401  (the hook names it and imports only `tests`)
from tests.shared import REPOSITORY

# Two fake devices show what is wrong between replicas; more cost time and show nothing new.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
# The folder may be deleted at any time.
jax.config.update("jax_compilation_cache_dir", str(REPOSITORY / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

install_import_hook("pointrend_jax", "tests.typechecker.check")

if TYPE_CHECKING:
    from tests.quick_run import QuickRun
    from tests.tiny_run import TinyRun

# The same examples in every run, on machines of any speed (a compile may take seconds).
settings.register_profile("reproducible", deadline=None, derandomize=True, database=None)
settings.load_profile("reproducible")


# What compiles or traces whole networks, starts programs, or takes seconds, below this folder. The
# first trains the tiny run; those that begin with it too come late, and find it.
_SLOW = (
    "test_experiment.py", "models", "parity/test_models.py", "test_semantic_experiment.py",
    "layers", "parity/test_ops.py", "parity/test_train_inputs.py", "predict/test_instances.py",
    "benchmarks/test_gpu.py", "benchmarks/test_kills.py", "devices/test_processes.py",
    "test_recipes.py", "test_own_network.py", "test_demo.py", "test_site.py",
    "explore/test_browser.py", "explore/test_model.py", "explore/test_static.py",
    "evaluation/test_lvis_official.py",
    "importers/test_efficientnet_lite.py", "importers/test_semantic_names.py",
    "importers/test_torch_legacy.py", "ops/test_roi_align.py", "ops/test_roi_forms.py",
    "ops/test_scatter.py", "predict/test_labels.py", "predict/test_load.py",
    "predict/test_published.py", "predict/test_refiner.py", "predict/test_refine_file.py",
    "predict/test_scene.py", "tasks/test_augmented_instances.py", "tasks/test_instance.py",
    "tasks/test_refine.py", "tasks/test_scoring.py", "test_convert.py", "test_extend.py",
    "test_refine_experiment.py", "export/test_export.py", "export/test_onnx.py", "test_library.py",
    "test_lvis_experiment.py", "test_more_than_rgb.py", "test_point_loss.py",
    "test_weight_files.py", "test_weights.py", "test_wheel.py", "training/test_bucket.py",
    "training/test_loop.py", "training/test_memory.py", "training/test_step.py",
)  # fmt: skip


# Importing and tracing make many objects, which the collector need not look at often.
gc.set_threshold(100_000, 20, 20)


def pytest_collection_finish() -> None:
    """What was imported stays, so the collector need not look at it again."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the slow tests and puts them first, so that no worker begins a long file at the end."""
    slow = [REPOSITORY / "tests" / name for name in _SLOW]

    @cache
    def place(path: Path) -> int:
        found = (i for i, of in enumerate(slow) if path.is_relative_to(of))
        return next(found, len(slow))

    for item in items:
        if place(item.path) < len(slow):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: place(item.path))


# Of a process; with so many it takes about 3 GB.
_MEMORY_MAPS = 10_000


@pytest.fixture(autouse=True, scope="module")
def free_compiled_programs() -> Iterator[None]:
    """Drops what was compiled when it has become much; it is loaded from the folder above again.

    Kept to the end, the programs of all tests take more than 10 GB and, on Linux, more memory maps
    than a process may have (65,530), at which XLA aborts.
    """
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > _MEMORY_MAPS:
        jax.clear_caches()
        gc.collect()


def _made_once(root: Path, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of pytest's workers fills by `make`, and that all of them read.

    root: of the temporary folders of this process.
    """
    # A worker's own lies in that of the whole run.
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "made").exists():
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Instances, trained and scored once for all tests, on both devices."""
    from pointrend_jax.experiment import train
    from tests.tiny_run import TinyRun, tiny_run_config

    def make(folder: Path) -> None:
        train(tiny_run_config(folder / "cache"), folder / "work")

    folder = _made_once(tmp_path_factory.getbasetemp(), "tiny_run", make)
    return TinyRun(folder / "cache", folder / "work")


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> QuickRun:
    """The same of label maps, for what is about runs and not about networks."""
    from pointrend_jax.experiment import train
    from tests.quick_run import QuickRun

    def make(folder: Path) -> None:
        run = QuickRun(folder)
        run.write()
        train(run.config(), run.workdir)

    return QuickRun(_made_once(tmp_path_factory.getbasetemp(), "quick_run", make))


@pytest.fixture
def trace_for() -> Iterator[Callable[[str], None]]:
    """From here on the test traces its programs as for that platform, on the one that there is."""
    from pointrend_jax.devices.backend import traced_for

    with ExitStack() as stack:
        yield lambda platform: stack.enter_context(traced_for(platform))


@pytest.fixture
def optimised_programs() -> Iterator[None]:
    """Optimised machine code, where its rounding is what a test compares."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def strict_dtypes() -> Iterator[None]:
    """No implicit dtype promotion: for tests of our own ops, which must not mix dtypes.

    Not for all tests, because optax schedules and bfloat16 Conv + BatchNorm promote.
    """
    with jax.numpy_dtype_promotion("strict"):
        yield
