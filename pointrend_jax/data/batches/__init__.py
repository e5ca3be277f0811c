"""From records to batches of one shape: plan, load, augment."""
