"""From the files of a data set to batches: sources, records, batches. Nothing here imports jax."""
