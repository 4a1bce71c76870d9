"""Alerts on a real Prometheus: `make alerts`."""
