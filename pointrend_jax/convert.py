"""Published weights as a checkpoint of ours, with a card that says what they are."""

from datetime import UTC, datetime
from pathlib import Path

import jax.numpy as jnp

from pointrend_jax.config_rules import check_config
from pointrend_jax.data.sources.categories import are_made_up, category_ids
from pointrend_jax.storage import check_workdir, write_json
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.checkpoints import CheckpointMeta
from pointrend_jax.training.saved_variables import newest_step, save_variables
from pointrend_jax.training.trees import nested
from pointrend_jax.weights import Weights, import_file, names_of_classes, report_record

CARD = "model_card.json"


def convert(source: str, config: Config, output: Path) -> Weights:
    """Writes a checkpoint of the whole model of `config`, and `model_card.json`, to `output`.

    `predict`, `eval.py` and `config.init.weights` take the directory like that of a training run.

    Args:
      source: a file, or what `importers.download.resolve_weights` knows by name.
    Raises: ValueError, before anything is written, if a tensor is missing, extra or misshapen, the
      file cannot be read, or `output` has checkpoints already.
    """
    check_config(config)
    check_workdir(output, "--output")
    if newest_step(output) is not None:
        raise ValueError(f"{output} has checkpoints already; choose another --output.")
    names = names_of_classes(config)
    ids = category_ids(config.data.categories, config.data.source, config.num_classes)
    weights = import_file(source, config, build_task(config))
    variables = nested({path: jnp.asarray(a) for path, a in weights.arrays.items()})
    if are_made_up(names):
        print(
            f"no class names are known, so they are {names[0]!r} and so on; "
            "config.data.class_names gives them",
            flush=True,
        )
    # The card first: with a checkpoint in its place a second try would be refused.
    write_json(output / CARD, _card(source, config, names, ids, weights))
    save_variables(output, variables, CheckpointMeta(config.to_dict(), names, category_ids=ids))
    return weights


def _card(
    source: str, config: Config, names: tuple[str, ...], ids: tuple[int, ...], weights: Weights
) -> dict:
    parameters = sum(a.size for p, a in weights.arrays.items() if p.startswith("params/"))
    return {
        "name": config.name,
        "converted": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights": str(source),
        "parameters": int(parameters),
        "class_names": list(names),
        "category_ids": list(ids),
        **report_record(weights),
        "config": config.to_dict(),
    }
