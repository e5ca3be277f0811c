"""Scores a trained model: python eval.py --workdir runs/demo

The checkpoint knows its configuration; --config is needed only to score it on other data or with
other settings, as in --config configs/demo.py --config.model.mask.subdivision_steps=2.
"""

from collections.abc import Sequence

from ml_collections import config_flags

from pointrend_jax.experiment import evaluate_run
from pointrend_jax.flags import define_cluster, define_workdir, run
from pointrend_jax.storage import as_path
from pointrend_jax.training.processes import join_processes

_CONFIG = config_flags.DEFINE_config_file("config", None, "Other settings.", lock_config=True)
_WORKDIR = define_workdir()
_CLUSTER = define_cluster()


def main(_: Sequence[str]) -> None:
    join_processes(_CLUSTER())
    evaluate_run(as_path(_WORKDIR.value), _CONFIG.value)


if __name__ == "__main__":
    run(main)
