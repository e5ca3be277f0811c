"""What a prediction gives its user. Nothing here imports jax."""
