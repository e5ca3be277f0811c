"""SemanticFPN and DeepLabV3, each alone and with PointRend, on CamVid: equal data, schedule, seed.

    PYTHONPATH=. python benchmarks/compare_semantic.py --data-dir DIR --workdir runs/camvid

Trains the four models one after another, each in its own process, and prints their scores with
paired bootstrap intervals over the validation images. It leaves comparison.json in the work
directory. What follows `--` goes to every training, as in `-- --config.train.steps=400`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.semantic_bootstrap import paired_semantic_bootstrap
from pointrend_jax.evaluation.results import MaskSource
from pointrend_jax.evaluation.semantic_scores import SemanticCounts, load_counts, metrics, score
from pointrend_jax.experiment import evaluate_run
from pointrend_jax.storage import write_json

_SOURCES = Path(__file__).resolve().parents[1]


class Run(NamedTuple):
    """config: of configs/. baseline: the run that this one is compared with."""

    config: str
    pointrend: bool
    baseline: str = ""


_RUNS = {
    "semantic_fpn": Run("camvid", pointrend=False),
    "semantic_fpn_pointrend": Run("camvid", pointrend=True, baseline="semantic_fpn"),
    "deeplabv3": Run("camvid_deeplab", pointrend=False),
    "deeplabv3_pointrend": Run("camvid_deeplab", pointrend=True, baseline="deeplabv3"),
}


def train(name: str, workdir: Path, data_dir: Path, overrides: list[str]) -> dict[str, float]:
    """Seconds by the clock and of all cores together that the training took, with its evaluation.

    A finished run is not repeated; one that was interrupted goes on, and its seconds are the rest.
    """
    run, kept = _RUNS[name], workdir / name / "seconds.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    before, start = _cpu_seconds(), time.monotonic()
    command = [
        sys.executable, str(_SOURCES / "train.py"),
        "--config", str(_SOURCES / "configs" / f"{run.config}.py"),
        "--workdir", str(workdir / name), f"--config.data.dir={data_dir}",
        f"--config.model.semantic.pointrend={run.pointrend}", *overrides,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    took = {"clock": time.monotonic() - start, "cpu": _cpu_seconds() - before}
    write_json(kept, took)
    return took


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compare(counts: dict[str, SemanticCounts]) -> list[dict[str, Any]]:
    """Every metric of each model against its baseline, and against its own coarse prediction."""
    differences = []
    for name, run in _RUNS.items():
        if not run.baseline:
            continue
        own = counts[name]
        scored = score(own)["rendered"]
        for metric in (metric for metric in metrics(own) if scored[metric] is not None):
            pairs: tuple[tuple[str, SemanticCounts, MaskSource], ...] = (
                (run.baseline, counts[run.baseline], "rendered"),
                ("its coarse prediction", own, "coarse"),
            )
            for other, b, source in pairs:
                gain = paired_semantic_bootstrap(own, b, metric=metric, source_b=source)
                differences.append(
                    {"model": name, "minus": other, "metric": metric} | gain._asdict()
                )
    return differences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("overrides", nargs="*", help="flags of every training")
    args = parser.parse_args()
    seconds, counts = {}, {}
    for name in _RUNS:
        seconds[name] = train(name, args.workdir, args.data_dir, args.overrides)
    for name in _RUNS:
        evaluate_run(args.workdir / name)
        counts[name] = load_counts(args.workdir / name / "counts.npz")
    scores = {name: score(c)["rendered"] for name, c in counts.items()}
    differences = compare(counts)
    device = jax.devices()[0].device_kind
    write_json(
        args.workdir / "comparison.json",
        {"device": device, "seconds": seconds, "scores": scores, "differences": differences},
    )
    for name, values in scores.items():
        cells = (f"{metric} {100 * value:.1f}" for metric, value in values.items() if value)
        took = seconds[name]
        print(f"{name} ({took['clock']:.0f} s, {took['cpu']:.0f} s of CPU): " + ", ".join(cells))
    for d in differences:
        print(
            f"{d['model']} minus {d['minus']}, {d['metric']}: {100 * d['difference']:+.1f} "
            f"[{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
        )


if __name__ == "__main__":
    main()
