"""Whole networks, and the one place where configuration names become classes."""
