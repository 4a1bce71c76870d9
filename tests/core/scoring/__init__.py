"""Tests of sums, scores and states."""
