"""Scores a trained model: python eval.py --workdir runs/demo

The checkpoint knows its configuration; --config is needed only to score it on other data or with
other settings, as in --config configs/demo.py --config.model.mask.subdivision_steps=2.
Results go to --output, by default the work directory.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from pointrend_jax.devices.processes import join_processes
from pointrend_jax.experiment import evaluate_run
from pointrend_jax.flags import define_cluster, define_workdir, run
from pointrend_jax.storage import as_path

_CONFIG = config_flags.DEFINE_config_file("config", None, "Other settings.", lock_config=True)
_WORKDIR = define_workdir()
_OUTPUT = flags.DEFINE_string("output", None, "Where results go, if not to --workdir.")
_CLUSTER = define_cluster()


def main(_: Sequence[str]) -> None:
    join_processes(_CLUSTER())
    output = None if _OUTPUT.value is None else as_path(_OUTPUT.value)
    evaluate_run(as_path(_WORKDIR.value), _CONFIG.value, output)


if __name__ == "__main__":
    run(main)
