"""Tests of the file of connections."""
