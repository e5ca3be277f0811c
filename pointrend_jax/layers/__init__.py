"""Linen modules, one block of the paper a file."""
