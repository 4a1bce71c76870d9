"""Tests of what comes in, what goes out, and what the journal holds."""
