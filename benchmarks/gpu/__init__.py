"""Where the time of an accelerator goes: `python -m benchmarks.gpu --help`."""
