"""Tests of the archive, and of how histories are read."""
