"""Tests of the pure core: examples for the edges, properties for what holds always."""
