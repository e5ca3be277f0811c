"""Quality for speed: scores of one trained model against the time of its masks, as its knobs turn.

    python -m benchmarks.speed.dial --workdir runs/pennfudan --output runs/dial.json \
        [--data-dir DIR]

Every setting scores the evaluation set of the run with the same weights; nothing is trained. The
time is that of the masks alone, over the first images of the set, in milliseconds an image; the
points are those predicted for an instance.
"""

import argparse
import json
import time
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import jax
from ml_collections import ConfigDict

from benchmarks.speed.heads import detected
from benchmarks.speed.measure import machine, product_rate, quartiles
from pointrend_jax.data.build_objects import build_eval_set
from pointrend_jax.layers.regions import skip_full_subdivisions
from pointrend_jax.models.build import build_model
from pointrend_jax.storage import write_json
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.tasks.scoring import score
from pointrend_jax.training.saved_variables import load_variables

# subdivision_steps, subdivision_num_points, min_cell_px.
_SETTINGS = (
    *((2, 784, 0.0), (3, 784, 0.0), (4, 784, 0.0), (5, 784, 0.0)),
    *((5, 196, 0.0), (5, 392, 0.0), (5, 784, 1.0), (5, 784, 2.0)),
)
_IMAGES, _ROUNDS = 8, 5


def measure(
    config: Config, variables: Any, data: Any, setting: tuple[int, int, float]
) -> dict[str, Any]:
    own = config.copy_and_resolve_references()
    mask = own.model.mask
    mask.subdivision_steps, mask.subdivision_num_points, mask.min_cell_px = setting
    scores = score(build_task(own), variables, data, own).results
    milliseconds = [1e3 * seconds for seconds in _mask_seconds(own, variables, data)]
    side, steps = skip_full_subdivisions(mask.coarse_resolution, setting[0], setting[1])
    return {
        "subdivision_steps": setting[0],
        "subdivision_num_points": setting[1],
        "min_cell_px": setting[2],
        "resolution": mask.coarse_resolution * 2 ** setting[0],
        "most_points": side**2 + steps * setting[1],
        "milliseconds": median(milliseconds),
        "quartiles": quartiles(milliseconds),
        **{name: scores["rendered"][name] for name in ("mask_ap", "mask_ap75", "boundary_ap")},
    }


def _mask_seconds(config: Config, variables: Any, data: Any) -> list[float]:
    """The mean over images of each round."""
    model = build_model(config)
    apply = model.apply

    detect = partial(jax.jit(partial(apply, method=detected)), variables)
    segment = partial(jax.jit(partial(apply, method=type(model).segment)), variables)
    inputs = []
    for sample in islice(data.eval_samples(0, 1), _IMAGES):
        inputs.append((*detect(sample.batch), sample.batch.padded_hw))
        jax.block_until_ready(segment(*inputs[-1]))
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for each in inputs:
            jax.block_until_ready(segment(*each))
        times.append((time.perf_counter() - start) / (len(inputs) * config.eval.batch_size))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/dial.json"))
    parser.add_argument("--data-dir", help="if it is not where the training had it")
    args = parser.parse_args()
    variables, meta, _ = load_variables(args.workdir)
    config: Config = ConfigDict(meta.config)
    config.data.dir = args.data_dir or config.data.dir
    data, rows = build_eval_set(config), []
    for setting in _SETTINGS:
        rows.append(measure(config, variables, data, setting))
        print(json.dumps(rows[-1]), flush=True)
        record = {
            "model": config.name,
            "images": len(data.eval_ground_truth["images"]),
            "rows": rows,
            "machine": machine(),
            "product_gflops": product_rate(),
        }
        write_json(args.output, record)


if __name__ == "__main__":
    main()
