"""The paper's comparison on a COCO-format set: the dense 28x28 head against PointRend, equal terms.

    PYTHONPATH=. python benchmarks/compare_heads.py --config configs/pennfudan.py \
        --workdir runs/compare --config.data.dir=DIR

Trains both heads with each seed (a run that exists goes on, or is only scored), scores PointRend at
28x28 and at 224x224, and prints means over seeds with paired bootstrap intervals over images. It
leaves comparison.json in the work directory.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from benchmarks.bootstrap import Metric, paired_bootstrap
from pointrend_jax.cli.errors import with_clear_errors
from pointrend_jax.cli.overrides import apply_overrides, split_overrides
from pointrend_jax.config import load_config
from pointrend_jax.data.build_objects import EvalSet, build_eval_set
from pointrend_jax.experiment import train
from pointrend_jax.storage import write_json
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.scoring import score
from pointrend_jax.training.saved_variables import load_variables

_METRICS: tuple[Metric, ...] = ("mask_ap", "mask_ap75", "boundary_ap")
# Name: the head that is trained, and the subdivision steps it is scored with.
_VARIANTS = {
    "dense 28x28": ("conv", 0),
    "PointRend 28x28": ("pointrend", 2),
    "PointRend 224x224": ("pointrend", 5),
}


def train_all(config: ConfigDict, workdir: Path, seeds: int) -> dict[str, float]:
    """Seconds of each training of this call."""
    seconds = {}
    for seed in range(seeds):
        for head in ("conv", "pointrend"):
            own = config.copy_and_resolve_references()
            own.seed, own.model.mask_head = seed, head
            start = time.monotonic()
            train(own, workdir / f"{head}_{seed}")
            seconds[f"{head}_{seed}"] = time.monotonic() - start
    return seconds


def score_variant(
    config: ConfigDict, workdir: Path, variant: str, seed: int, data: EvalSet
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The metrics of one trained model, and its detections."""
    head, steps = _VARIANTS[variant]
    own = config.copy_and_resolve_references()
    own.model.mask_head, own.model.mask.subdivision_steps = head, steps
    variables, _, _ = load_variables(workdir / f"{head}_{seed}")
    scores = score(build_task(own), variables, data, own)
    folder = workdir / f"{head}_{seed}" / f"steps_{steps}"
    scores.save_details(folder)
    detections = json.loads((folder / "detections_rendered.json").read_text())
    return {name: scores.results["rendered"][name] for name in _METRICS}, detections


def main() -> None:
    overrides, others = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="a name or a path; --config.FIELD=VALUE")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each head (2)")
    args = parser.parse_args(others)
    config, workdir = apply_overrides(load_config(args.config), overrides), args.workdir
    seconds = train_all(config, workdir, args.seeds)
    data = build_eval_set(config)
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in _VARIANTS}
    differences: list[dict[str, Any]] = []
    for seed in range(args.seeds):
        detections = {}
        for variant in _VARIANTS:
            found, detections[variant] = score_variant(config, workdir, variant, seed, data)
            scores[variant].append(found)
        for metric in _METRICS:
            for variant in list(_VARIANTS)[1:]:
                gain = paired_bootstrap(
                    data.eval_ground_truth,
                    detections[variant],
                    detections["dense 28x28"],
                    metric=metric,
                )
                differences.append(
                    {"seed": seed, "metric": metric, "variant": variant} | gain._asdict()
                )
    device = jax.devices()[0].device_kind
    write_json(
        workdir / "comparison.json",
        {"device": device, "seconds": seconds, "scores": scores, "differences": differences},
    )
    print_comparison(scores, differences, device)


def print_comparison(
    scores: dict[str, list[dict[str, float]]], differences: list[dict[str, Any]], device: str
) -> None:
    print(f"device: {device}")
    for variant, runs in scores.items():
        cells = [" / ".join(f"{100 * run[m]:.1f}" for run in runs) for m in _METRICS]
        print(
            f"{variant:<20}" + "".join(f"{m} {c:<18}" for m, c in zip(_METRICS, cells, strict=True))
        )
    for d in differences:
        print(
            f"seed {d['seed']} {d['metric']:<12} {d['variant']:<18} minus dense: "
            f"{100 * d['difference']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
        )


if __name__ == "__main__":
    with_clear_errors(main)
