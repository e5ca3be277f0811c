"""State, optimiser, checkpoints and the loop."""
