"""Records that cannot be read because their batch cannot: known by their places alone.

A batch may unpack to more than a worker may hold, or its bytes may be damaged. It then gives a place for each offset. The cut
of the worker's batch names these places (`Passed`). A refold therefore passes over the same records, whatever its own limit is
and whatever it can read now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from worker.core.contract.journal import Passed
from worker.core.contract.model import Record, Rejected, Unread

TOO_LARGE: Final = "batch_too_large"
DAMAGED: Final = "batch_damaged"

UNREAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        TOO_LARGE: "The record's batch unpacks to more bytes than LEADPULSE_MAX_UNPACKED allows.",
        DAMAGED: "The record's batch is damaged (checksum or structure), and LEADPULSE_PASS_OVER names it.",
    }
)
"""Why a record was not read, with what each means."""

MOST_LETTERS: Final = 100_000
"""A batch with more offsets than this gets one letter for all of them: its header may claim two billion."""


def places(topic: str, partition: int, first: int, last: int, *, base: int, reason: str, detail: str = "") -> Iterator[Unread]:
    """Yield a place for each offset from *first* to *last*, or one for all of them where they are more than `MOST_LETTERS`.

    The one stands at *last*, so that the offset after it is the next to be read. *base*: the batch's first offset.
    """
    if last - first >= MOST_LETTERS:
        yield Unread.at(topic, partition, last, first=first, base=base, reason=reason, detail=detail)
        return
    for offset in range(first, last + 1):
        yield Unread.at(topic, partition, offset, first=offset, base=base, reason=reason, detail=detail)


def begins(record: Record) -> int:
    """Return the offset at which *record* begins to be read."""
    return record.first if type(record) is Unread else record.offset


def rejected(place: Unread) -> Rejected:
    """Return what goes to the dead letters for *place*."""
    of = f"offsets {place.first} to {place.offset}" if place.first < place.offset else f"offset {place.offset}"
    return Rejected(
        place, place.reason, f"{of}, of the batch that begins at {place.base}: {place.detail or UNREAD[place.reason]}"
    )


def ranges_passed(records: Sequence[Record]) -> tuple[Passed, ...]:
    """Return the places among *records*, in their order, as ranges of offsets."""
    ranges: list[Passed] = []
    for record in records:
        if type(record) is not Unread:
            continue
        last = ranges[-1] if ranges else None
        follows = last is not None and (last.topic, last.reason, last.last + 1) == (record.topic, record.reason, record.first)
        if last is not None and follows and record.offset - last.first < MOST_LETTERS:
            ranges[-1] = Passed(last.topic, last.first, record.offset, last.reason)
        else:
            ranges.append(Passed(record.topic, record.first, record.offset, record.reason))
    return tuple(ranges)


def as_passed(records: Sequence[Record], partition: int, ranges: Sequence[Passed]) -> list[Record]:
    """Return *records* with places in the stead of what the first fold passed over in *ranges*; the order stays.

    What it did not pass over stays as it is. An `Unread` among it cannot be folded again here.
    """
    kept = [r for r in records if not any(r.topic == one.topic and one.first <= r.offset <= one.last for one in ranges)]
    for one in ranges:
        kept += places(one.topic, partition, one.first, one.last, base=one.first, reason=one.reason)
    return sorted(kept, key=lambda record: (record.topic, record.offset))
