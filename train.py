"""Trains a model: python train.py --config configs/demo.py --workdir runs/demo

Fields are overridden by flags, as in --config.train.steps=100. A run that was stopped goes on from
its last checkpoint when started again with the same --workdir. On several hosts every one runs the
same command with --coordinator (docs/tpu_pod.md, docs/gpu.md).
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from pointrend_jax.devices.processes import join_processes
from pointrend_jax.experiment import train
from pointrend_jax.flags import define_cluster, define_workdir, run
from pointrend_jax.storage import as_path

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
_WORKDIR = define_workdir()
_CLUSTER = define_cluster()
_ACCEPT_CHANGES = flags.DEFINE_bool(
    "accept_changes", False, "Resume although settings differ that decide the numbers."
)


def main(_: Sequence[str]) -> None:
    if _CONFIG.value is None:
        raise ValueError("give the experiment, as in --config configs/demo.py.")
    join_processes(_CLUSTER())
    train(_CONFIG.value, as_path(_WORKDIR.value), accept_changes=_ACCEPT_CHANGES.value)


if __name__ == "__main__":
    run(main)
