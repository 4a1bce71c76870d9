"""Tests of one person under several ids."""
