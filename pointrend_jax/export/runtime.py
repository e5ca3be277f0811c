"""Runs an export on photos by its reader alone, in a process of its own, and measures it.

python -P runtime.py READER EXPORT PHOTOS RESULTS ROUNDS

Nothing but jax, what it needs and flatbuffers, or onnxruntime, can be imported in it. PHOTOS and
RESULTS are .npz files; what was measured is printed as JSON.
"""

import importlib.abc
import json
import resource
import runpy
import sys
import time

import numpy as np

# Beside the standard library: jax, its requirements, and what brings an accelerator to it; and what
# runs ONNX.
_ALLOWED = {"numpy", "scipy", "ml_dtypes", "opt_einsum", "flatbuffers", "nvidia", "libtpu"}
_ALLOWED |= {"onnxruntime"}


class _Bare(importlib.abc.MetaPathFinder):
    """Finds what an export may need, and nothing else."""

    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, fullname, path=None, target=None):
        top = fullname.partition(".")[0]
        known = _ALLOWED | sys.stdlib_module_names
        # Python has modules of its own that it does not name, such as _sysconfigdata of a machine.
        if top not in known and not top.startswith(("jax", "_")):
            return None
        found = (finder.find_spec(fullname, path, target) for finder in self.finders)
        return next((spec for spec in found if spec is not None), None)


def hide_other_modules():
    """From here on there are no others than those that an export may need."""
    sys.meta_path[:] = [_Bare(list(sys.meta_path))]


class _Watched:
    """A program, how often it was called and with what last."""

    def __init__(self, run):
        self.run, self.arguments, self.calls = run, (), 0

    def __call__(self, *arguments):
        self.arguments, self.calls = arguments, self.calls + 1
        return self.run(*arguments)

    def bytes(self):
        # A session of onnxruntime does not tell.
        lower = getattr(self.run, "lower", None)
        found = lower and lower(*self.arguments).compile().memory_analysis()
        if found is None:
            return None
        return sum(getattr(found, f"{x}_size_in_bytes") for x in ("argument", "output", "temp"))


def run(reader, export, photos, results, rounds):
    """Writes the results of every photo, under "PHOTO/NAME"; which program each photo went to, and
    the seconds and bytes it took.

    A round predicts all photos once; those after the first are timed.
    """
    started = time.perf_counter()
    exported = runpy.run_path(reader)["Exported"](export)
    loaded = time.perf_counter()
    for program in exported.programs:
        program["run"] = _Watched(program["run"])
    taken = {program["file"]: [] for program in exported.programs}
    with np.load(photos) as stored:
        images = {name: stored[name] for name in stored.files}
    found, seconds = {}, []
    for number in range(1 + int(rounds)):
        for name, pixels in images.items():
            before = [program["run"].calls for program in exported.programs]
            start = time.perf_counter()
            result = exported(pixels)
            if number:
                seconds.append(time.perf_counter() - start)
                continue
            for program, calls in zip(exported.programs, before, strict=True):
                if program["run"].calls > calls:
                    taken[program["file"]].append(int(name))
            for i, of_mask in enumerate(result.pop("runs", ())):
                found[f"{name}/runs/{i}"] = of_mask
            found |= {f"{name}/{key}": value for key, value in result.items()}
    np.savez(results, **found)
    used = [p["run"] for p in exported.programs if p["run"].arguments]
    sizes = [program.bytes() for program in used]
    return {
        "programs": taken,
        "load_seconds": loaded - started,
        "seconds": float(np.median(seconds)),
        "program_bytes": None if None in sizes else max(sizes),
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


if __name__ == "__main__":
    hide_other_modules()
    print(json.dumps(run(*sys.argv[1:])))
