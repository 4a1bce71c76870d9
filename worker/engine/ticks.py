"""Computes the time of a partition's next tick, from the consumer's view and the other partitions' positions. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

CAUTION_MS = 2_000
"""A tick is at least so much older than the last fetch: records on their way have older times."""

STRAYING_MS = 24 * 3_600_000
"""How long a partition that forwarded a stray holds the ticks of the others back."""

PATIENCE_MS = 15 * 60_000
"""The most by which it holds them back."""


class View(NamedTuple):
    """One topic of the partition, by the consumer's last fetch."""

    next: int
    """Next offset to apply."""
    highwater: int | None
    """End of the log at the last fetch; `None` before the first."""
    polled_ms: int | None
    """Time of the last fetch."""
    seen_ms: int | None
    """Kafka timestamp of the last record applied; `None` before the first."""


class Neighbour(NamedTuple):
    """Another partition of the namespace, by its position."""

    strayed_ms: int | None
    """Newest log time of the strays that it has forwarded."""
    horizon_ms: int | None
    """The time up to which it has read its records, and published the strays among them."""


def candidate(views: Iterable[View]) -> int | None:
    """Return the instant up to which the partition has applied everything; `None` while that is unknown.

    A topic that was read to its end counts up to its last fetch, less `CAUTION_MS`. Another topic counts up to its last applied
    record. An open transaction keeps a topic from its end: the position reaches the high watermark once it is decided.
    """
    earliest: int | None = None
    for view in views:
        caught_up = view.highwater is not None and view.next >= view.highwater
        stands_ms = view.polled_ms - CAUTION_MS if caught_up and view.polled_ms is not None else view.seen_ms
        if stands_ms is None:
            return None
        earliest = stands_ms if earliest is None else min(earliest, stands_ms)
    return earliest


def held_back(own_ms: int, neighbours: Iterable[Neighbour]) -> int:
    """Return the time of a tick whose own candidate is *own_ms*.

    A partition that forwarded strays within `STRAYING_MS` may forward another one for us, as old as its horizon. The tick waits
    for it, by `PATIENCE_MS` at most. The difference to *own_ms* is how far the tick is held back.
    """
    earliest = own_ms
    for neighbour in neighbours:
        if neighbour.strayed_ms is None:
            continue
        horizon_ms = neighbour.horizon_ms if neighbour.horizon_ms is not None else 0
        if neighbour.strayed_ms > horizon_ms - STRAYING_MS:
            earliest = min(earliest, horizon_ms)
    return max(earliest, own_ms - PATIENCE_MS)
