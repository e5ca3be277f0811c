"""Scores of predictions beside a truth. Nothing here imports jax."""
