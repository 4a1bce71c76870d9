"""Tests of learning: statistics against published figures, fits against known truth."""
