"""Speed, memory and cost of prediction and training: `python -m benchmarks.speed --help`."""
