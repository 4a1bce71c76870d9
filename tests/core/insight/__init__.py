"""Tests of questions about a score."""
