"""What to optimise and what to predict, as values that a training loop can hold."""
