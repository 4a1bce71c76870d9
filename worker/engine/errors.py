"""Errors that decide how far a fault reaches: one incarnation of a partition, or the whole worker."""

from __future__ import annotations


class WorkerMustStop(Exception):
    """The worker must stop: going on would lose, double or never finish something. The message says what mends it."""


class IncarnationEnded(Exception):
    """One incarnation of a partition cannot go on (the store went back in time, a transaction failed): begin a new one."""
