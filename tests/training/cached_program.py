"""Runs a program that keeps what it compiles, whichever process of a run it is.

    python -m tests.training.cached_program train.py --config ...

jax lets process 0 alone write its cache of compiled programs, and the keys of the others differ on
CPUs, so that they would compile everything in every test. Where jax looks elsewhere for the number
of the process, this changes nothing and tests take longer.
"""

import runpy
import sys
from types import SimpleNamespace

from jax._src import compiler

_FIRST = SimpleNamespace(global_state=SimpleNamespace(process_id=0, client=None))


def main() -> None:
    setattr(compiler, "distributed", _FIRST)  # noqa: B010 (pyright knows the module's own)
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
