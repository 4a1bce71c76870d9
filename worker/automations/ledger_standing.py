"""Where a partition's ledger stands to the group's offsets: where to read on, and whether the ledger went back in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from worker.ports import Committed

CALLS: Final = "#calls"
"""Among a ledger's positions: how many times unsafe calls went out. The group's offsets have it as their note."""


class Standing(NamedTuple):
    """Where to read on."""

    next: dict[str, int]
    """The next offset of each topic."""
    again_until: dict[str, int]
    """Topic → the offset up to which it was read before, by a ledger that is lost. Acts of these outputs may have been done."""
    calls: int
    went_back: bool
    """Acts that wait may have been done: the ledger is an older copy."""
    emptied: bool
    """The ledger holds nothing, although the group has read."""
    lost: dict[str, int]
    """Topic → records that retention deleted before they were read."""


def standing(
    topics: Sequence[str],
    position: Mapping[str, int],
    committed: Mapping[str, Committed],
    starts: Mapping[str, int],
    ends: Mapping[str, int],
    first: Mapping[str, int],
) -> Standing:
    """Compare a ledger's *position* with what the group *committed*. *first*: where a topic begins that was never read."""
    calls = max((_calls(at.metadata) for at in committed.values()), default=0)
    emptied = bool(committed) and not any(topic in position for topic in topics)
    next_: dict[str, int] = {}
    again: dict[str, int] = {}
    lost: dict[str, int] = {}
    for topic in topics:
        held, read = position.get(topic), committed[topic].offset if topic in committed else None
        if held is None:
            held = first[topic] if read is None else starts[topic]
        if read is not None and held < read <= ends[topic]:
            again[topic] = read
        if held > ends[topic]:
            held = starts[topic]  # the topic was made anew
        if held < starts[topic]:
            lost[topic] = starts[topic] - held
        next_[topic] = max(held, starts[topic])
    went_back = bool(again) or emptied or position.get(CALLS, 0) < calls
    return Standing(next_, again, max(calls, position.get(CALLS, 0)), went_back, emptied, lost)


def _calls(note: str) -> int:
    return int(note) if note.isascii() and note.isdecimal() and len(note) < 16 else 0
