"""Programs compiled for a TPU, each kept in a folder under a digest of itself.

A step takes many minutes; one that was compiled before is read, also after a stop.
"""

import gzip
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.tpu.chips import compiler_version
from pointrend_jax.devices.backend import compiler_options
from pointrend_jax.storage import write_json


class Compiled(NamedTuple):
    """What the compiler made of a program.

    Attributes:
      text: optimised HLO with the compiler's estimates.
      facts: seconds of compilation on this machine, and MiB of one device: code, arguments, outputs
        (less what they share with arguments), and what it needs beside them while it runs.
    """

    text: str
    facts: dict[str, float]


def compiled(lowered: jax.stages.Lowered, topology: str, folder: Path) -> Compiled:
    """Compiles the program, or reads what was made of it for this topology by this compiler."""
    options = compiler_options("tpu")
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    versions = f"{topology} {compiler_version()} {jax.__version__} {options} {flags}"
    what = f"{versions}\n{lowered.as_text()}"
    name = hashlib.sha256(what.encode()).hexdigest()[:32]
    text_file, facts_file = folder / f"{name}.txt.gz", folder / f"{name}.json"
    if facts_file.is_file():
        text = gzip.decompress(text_file.read_bytes()).decode()
        return Compiled(text, json.loads(facts_file.read_text()))
    start = time.monotonic()
    program = lowered.compile(options)
    seconds = time.monotonic() - start
    made = Compiled(program.as_text() or "", {"compile_s": seconds} | _mib(program))
    folder.mkdir(parents=True, exist_ok=True)
    text_file.write_bytes(gzip.compress(made.text.encode()))
    # Written last: it says that both are whole.
    write_json(facts_file, made.facts)
    return made


def _mib(program: jax.stages.Compiled) -> dict[str, float]:
    memory: Any = program.memory_analysis()
    sizes = {
        "code_mib": memory.generated_code_size_in_bytes,
        "arguments_mib": memory.argument_size_in_bytes,
        "outputs_mib": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "temporary_mib": memory.temp_size_in_bytes,
    }
    return {name: size / 2**20 for name, size in sizes.items()}
