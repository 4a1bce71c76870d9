"""Tests of every layer; the helpers that several of them share are imported as `tests.…`."""
