"""The records of a batch, decoded and sorted by what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from worker.core.contract import unread
from worker.core.contract.codec import decode
from worker.core.contract.journal import OwnerMessage, Stray, decode_entry, stray_output
from worker.core.contract.model import Event, Item, Output, Record, Rejected, Tombstone, Unread
from worker.core.contract.partitioner import owner


class DecodedBatch(NamedTuple):
    """The records of a batch, sorted by what becomes of them."""

    items: list[Item]
    records: list[Record]
    """The items' own records, each at its item's place, for those that the plan refuses or passes on."""
    places: list[int]
    """Where each item's record stands among the batch's."""
    rejected: list[Rejected]
    strays: list[Output]
    strayed_ms: int | None
    """Newest log time among the strays."""
    unknown: int
    tombstones: int
    held: bool
    """The time of the fetch holds an event's `time`: who folds the batch again must know it."""


def decode_batch(
    records: Sequence[Record], internal: str, partition: int, partitions: int, fetched_ms: int | None = None
) -> DecodedBatch:
    """Decode *records* of *partition*, one of so many, fetched at *fetched_ms*, and sort them.

    A record of the *internal* topic is no stray: it came here once already. Cuts are skipped: they are for a later owner that
    must fold again. Ticks are skipped as well. A tick that moves the clock is a batch of its own. Others came too late to move
    it. Raises `JournalError` for a journal record that cannot be read.
    """
    items: list[Item] = []
    kept: list[Record] = []
    places: list[int] = []
    rejected: list[Rejected] = []
    strays: list[Output] = []
    unknown, tombstones, strayed_ms, held = 0, 0, -1, False
    for place, record in enumerate(records):
        if type(record) is Unread:
            rejected.append(unread.rejected(record))
            continue
        source, lead = record, ""
        visited: tuple[int, ...] = ()
        forwarded = record.topic == internal
        if forwarded:
            entry = decode_entry(record)
            if isinstance(entry, OwnerMessage):
                items.append(entry.message)
                kept.append(record)
                places.append(place)
                continue
            if not isinstance(entry, Stray):
                continue
            source, lead, visited = entry.record, entry.lead, entry.visited
        found = decode(source, fetched_ms)
        if type(found) is Event:
            home = partition if forwarded else owner(found.lead, partitions)
            if home != partition:
                strays.append(stray_output(internal, home, source))
                strayed_ms = max(strayed_ms, record.timestamp_ms or 0)
            else:
                if found.at_ms == fetched_ms:
                    held = True
                items.append(msgspec.structs.replace(found, lead=lead, visited=visited) if lead else found)
                kept.append(source)
                places.append(place)
        elif isinstance(found, Rejected):
            rejected.append(found)
        elif type(found) is Tombstone:
            tombstones += 1
        else:
            unknown += 1
    strayed = None if strayed_ms < 0 else strayed_ms
    return DecodedBatch(items, kept, places, rejected, strays, strayed, unknown, tombstones, held)
