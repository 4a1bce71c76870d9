"""Figures, not verdicts: what the worker costs, against a named rival in the same run."""
