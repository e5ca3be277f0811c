"""Weights of others as a checkpoint of ours, with a card that says what they are; and back.

Back is a safetensors file under Detectron2's names and in torch's layout, which says what model it
is: the description of the checkpoint stands beside the tensors.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pointrend_jax.config_rules import check_config
from pointrend_jax.data.sources.categories import are_made_up, category_ids
from pointrend_jax.importers.detectron2 import export_detectron2
from pointrend_jax.importers.safetensors_file import is_safetensors, read_texts, write_safetensors
from pointrend_jax.models.own_parts import own_modules
from pointrend_jax.storage import AnyPath, check_workdir, write_json
from pointrend_jax.structures import Config
from pointrend_jax.tasks.build import build_task
from pointrend_jax.training.checkpoints import CheckpointMeta, meta_content, parse_meta
from pointrend_jax.training.saved_variables import load_variables, newest_step, save_variables
from pointrend_jax.training.trees import flat, nested
from pointrend_jax.weights import Weights, import_file, names_of_classes
from pointrend_jax.weights_report import report_record

CARD = "model_card.json"
# The text of a safetensors file that is the description of its model, as JSON.
_DESCRIPTION = "pointrend_jax"


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


def export(checkpoint: AnyPath, output: Path) -> int:
    """Writes the newest checkpoint of a run as a safetensors file; the number of its tensors.

    The names are Detectron2's, the layout torch's; arrays of a user's own part (`extend.py`) keep
    their layout, under their paths. Where a run keeps an average of its weights, the average is
    written, as it is what predicts.

    Args:
      checkpoint: a run's work directory, or that of `convert`.
      output: a file that is not there yet.
    Raises: ValueError as `load_variables`, if `output` is there or is called otherwise, or cannot
      be written.
    """
    if output.suffix != ".safetensors":
        raise ValueError(f"--output {output} must end in .safetensors, of a --checkpoint.")
    if output.exists():
        raise ValueError(f"{output} is there already; choose another --output.")
    variables, meta, _ = load_variables(checkpoint)
    arrays = {path: np.asarray(array) for path, array in flat(variables).items()}
    own = own_modules(ConfigDict(meta.config))
    tensors = export_detectron2(arrays, own_modules=own)
    # Other readers take "pt" for torch's layout.
    texts = {"format": "pt", _DESCRIPTION: json.dumps(meta_content(meta))}
    write_safetensors(output, tensors, texts)
    return len(tensors)


def description_of(file: Path) -> CheckpointMeta | None:
    """What a file that `export` wrote says of its model; None for any other file.

    Raises: ValueError if the file is damaged.
    """
    with file.open("rb") as opened:
        if not is_safetensors(opened.read(10)):
            return None
    try:
        text = read_texts(file).get(_DESCRIPTION)
        return None if text is None else parse_meta(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: its description cannot be read ({error}).") from error


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
