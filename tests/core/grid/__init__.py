"""Tests of the grid language."""
