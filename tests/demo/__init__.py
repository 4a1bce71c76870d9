"""Tests of the demo's traffic and board."""
