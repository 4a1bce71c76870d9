"""Tests of vendors' webhooks."""
