"""Tests of every layer; what several of them share is in `tests.kit`."""
