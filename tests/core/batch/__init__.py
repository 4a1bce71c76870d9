"""Tests of one batch, from records to writes and outputs."""
