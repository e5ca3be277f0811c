"""What a TPU's own compiler says of the programs, without a TPU: `python -m benchmarks.tpu --help`.

A package beside benchmarks/gpu, with its command line and its files.
"""
