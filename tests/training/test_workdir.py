"""Two runs never share a work directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pointrend_jax.training.workdir import only_run_in


def test_a_second_run_is_refused_and_told_who_has_the_directory(tmp_path: Path) -> None:
    with only_run_in(tmp_path):
        # Another open file is another holder, in this process too.
        with (
            pytest.raises(ValueError, match=rf"a run that is not over \(process {os.getpid()} on "),
            only_run_in(tmp_path),
        ):
            pass
        with only_run_in(tmp_path / ".."):
            pass
    with only_run_in(tmp_path):
        pass


def test_a_killed_run_lets_go(tmp_path: Path) -> None:
    # Without jax, which would take seconds: the same lock of the same file.
    code = (
        "import sys; from filelock import lock_descriptor; "
        "f = open(sys.argv[1], 'a+'); lock_descriptor(f.fileno()); "
        "print('held', file=f, flush=True); print(flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(ValueError, match=r"\(held\)"), only_run_in(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with only_run_in(tmp_path):
        pass
    assert f"process {os.getpid()}" in (tmp_path / "run.lock").read_text()
