"""Kafka and Redis on a developer's machine, without containers."""
