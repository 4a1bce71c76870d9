"""Tests of what stands between the worker and each outside system."""
