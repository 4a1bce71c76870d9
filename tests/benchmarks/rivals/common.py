"""What the Python rivals share: how they are told where things are, how they say that the first record is there, times."""

from __future__ import annotations

import functools
import os
import sys
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

KAFKA = os.environ.get("RACE_KAFKA", "localhost:9092")
REDIS = os.environ.get("RACE_REDIS", "redis://localhost:6379/0")
NAME = os.environ.get("RACE_NAME", "race")
"""Consumer group, prefix of keys and of topics of its own."""
INPUT = os.environ.get("RACE_INPUT", "race")
OUTPUT = os.environ.get("RACE_OUTPUT", "race.out")
FOLDER = os.environ.get("RACE_FOLDER", ".")
PARTITIONS = int(os.environ.get("RACE_PARTITIONS", "8"))


@functools.cache
def first() -> None:
    """Tell the harness, once, that the first record is in hand. Cached: later calls cost some 30 ns."""
    sys.stdout.write(f"FIRST {time.time()}\n")
    sys.stdout.flush()


def instant(text: str) -> int:
    """Return the RFC 3339 *text* in milliseconds."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
