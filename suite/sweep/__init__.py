"""Sweeps, from a file to their end: ``python -m suite.sweep``."""
