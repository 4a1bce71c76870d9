"""Which time a partition's next tick may carry. Pure: the consumer's view and the other partitions' positions come in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

CAUTION_MS = 2_000
"""How much younger than the last fetch a tick stays when everything was read: records on their way have older times."""

STRAYING_MS = 24 * 3_600_000
"""For how long a partition that forwarded a stray holds the others' ticks back."""

PATIENCE_MS = 15 * 60_000
"""The most that it holds them back."""


class View(NamedTuple):
    """One topic of the partition, as the consumer saw it."""

    next: int
    """Next offset to apply."""
    highwater: int | None
    """End of the log at the last fetch; `None` before the first."""
    polled_ms: int | None
    """When that was."""
    seen_ms: int | None
    """Kafka timestamp of the last record applied; `None` before the first."""


class Neighbour(NamedTuple):
    """Another partition of the namespace, as its position tells."""

    strayed_ms: int | None
    """Newest log time of the strays that it forwarded."""
    horizon_ms: int | None
    """Up to here it has read its records, and published what it forwarded."""


def candidate(views: Iterable[View]) -> int | None:
    """Return the instant up to which the partition has applied everything, or `None` when that cannot be said yet.

    A topic whose end was reached stands at its last fetch, less `CAUTION_MS`; another at the last record applied. A topic
    behind its high watermark because of an open transaction is not at its end: the position meets the high watermark only
    once the transaction is decided.
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
    """Return the instant that a tick may carry when our own candidate is *own_ms*.

    A partition that forwarded strays within `STRAYING_MS` of its own time may forward one for us that is as old as its horizon:
    the tick waits for it, but never more than `PATIENCE_MS`. The caller must compare with *own_ms* to see how far it was held.
    """
    earliest = own_ms
    for neighbour in neighbours:
        if neighbour.strayed_ms is None:
            continue
        horizon_ms = neighbour.horizon_ms if neighbour.horizon_ms is not None else 0
        if neighbour.strayed_ms > horizon_ms - STRAYING_MS:
            earliest = min(earliest, horizon_ms)
    return max(earliest, own_ms - PATIENCE_MS)
