"""Grids to start from, each with its notes; `grids/README.md` says how to choose."""
