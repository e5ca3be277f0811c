"""Weights of others: found, read without executing anything, named as ours."""
