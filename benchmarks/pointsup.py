"""What labelled points are worth: training from ten points an object against training from masks.

    PYTHONPATH=. python benchmarks/pointsup.py --config pennfudan --workdir runs/pointsup \
        --config.data.dir=DIR

Trains PointRend with three seeds and Implicit PointRend with one, or the --pairs that are named,
from masks and from points that are made of them (`pointrend_jax points`; five of the ten in a
step), all else equal. A run that exists goes on, or is only scored. Prints the mask AP of each and
the share of the full-mask AP that points reach, with paired bootstrap intervals over images, and
leaves pointsup.json in the work directory, beside what it already says of other pairs.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.bootstrap import paired_share
from pointrend_jax.cli.errors import with_clear_errors
from pointrend_jax.cli.overrides import apply_overrides, split_overrides
from pointrend_jax.config import load_config
from pointrend_jax.data.build_objects import EvalSet, build_eval_set
from pointrend_jax.data.sources.point_annotations import write_point_annotations
from pointrend_jax.experiment import train
from pointrend_jax.storage import write_json
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.scoring import score
from pointrend_jax.training.saved_variables import load_variables

POINTS, POINTS_PER_STEP = 10, 5


class Pair(NamedTuple):
    """Trainings from masks and from points that differ in nothing else."""

    head: str
    seed: int

    @classmethod
    def parse(cls, text: str) -> "Pair":
        """Of "pointrend:2". Raises: ValueError for anything else."""
        head, _, seed = text.partition(":")
        if head not in ("pointrend", "implicit") or not seed.isdecimal():
            raise ValueError(f"{text!r} must be pointrend:SEED or implicit:SEED.")
        return cls(head, int(seed))


_PAIRS = [Pair("pointrend", 0), Pair("pointrend", 1), Pair("pointrend", 2), Pair("implicit", 0)]


def run_config(config: Config, pair: Pair, supervision: str, points: Path) -> Config:
    """That of one training. Implicit PointRend has Detectron2's fields beside the head itself."""
    own = config.copy_and_resolve_references()
    own.seed, own.model.mask_head = pair.seed, pair.head
    if pair.head == "implicit":
        own.model.mask.train_on_pred_boxes, own.model.mask.subdivision_steps = False, 3
    own.data.supervision = supervision
    if supervision == "points":
        # An absolute path stays itself, whatever data.dir is.
        own.data.train_annotations = str(points.resolve())
        own.data.points_per_step = POINTS_PER_STEP
    return own


def scored(
    config: Config, workdir: Path, data: EvalSet
) -> tuple[float | None, list[dict[str, Any]]]:
    """The mask AP of a trained model (None if there is nothing to find), and its detections."""
    variables, _, _ = load_variables(workdir)
    scores = score(build_task(config), variables, data, config)
    scores.save_details(workdir / "details")
    detections = (workdir / "details" / "detections_rendered.json").read_text()
    return scores.results["rendered"]["mask_ap"], json.loads(detections)


def keep(workdir: Path, pair: Pair, row: dict[str, Any]) -> None:
    """Adds what was found of a pair to pointsup.json, in the place of what it said of it before."""
    file = workdir / "pointsup.json"
    known = json.loads(file.read_text())["runs"] if file.is_file() else []
    others = [run for run in known if Pair(run["head"], run["seed"]) != pair]
    write_json(file, {"device": jax.devices()[0].device_kind, "runs": [*others, row]})


def main() -> None:
    overrides, others = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="a name or a path; --config.FIELD=VALUE")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--pairs", type=Pair.parse, nargs="+", default=_PAIRS, metavar="HEAD:SEED")
    args = parser.parse_args(others)
    config: Config = apply_overrides(load_config(args.config), overrides)
    workdir = args.workdir
    masks = Path(config.data.dir) / config.data.train_annotations
    points = workdir / "points.json"
    write_point_annotations(masks, points, number=POINTS, seed=0)
    data = build_eval_set(config)
    for pair in args.pairs:
        aps, detections = {}, {}
        for supervision in ("masks", "points"):
            own = run_config(config, pair, supervision, points)
            folder = workdir / f"{pair.head}_{supervision}_{pair.seed}"
            train(own, folder, evaluate_at_end=False)
            aps[supervision], detections[supervision] = scored(own, folder, data)
        share = paired_share(
            data.eval_ground_truth, detections["points"], detections["masks"], metric="mask_ap"
        )
        keep(workdir, pair, pair._asdict() | aps | {"share": share._asdict()})
        print(
            f"{pair.head} seed {pair.seed}: mask AP {100 * aps['masks']:.1f} from masks, "
            f"{100 * aps['points']:.1f} from points: {100 * share.share:.1f} % "
            f"[{100 * share.low:.1f}, {100 * share.high:.1f}]",
            flush=True,
        )


if __name__ == "__main__":
    with_clear_errors(main)
