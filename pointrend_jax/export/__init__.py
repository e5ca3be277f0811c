"""Trained models as files of programs, which run without this package: docs/export.md."""
