"""From older layouts of the packed state to the next: pure functions on the decoded list, one step each.

A step works on what its two versions held and on nothing else, so it is never touched again, unless to mend it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from worker.core.short import close, short_id, short_name

Fields = list[Any]
"""A state as msgpack decodes it: the fields of `LeadState` in order, the first of them the version."""

_COUNTS, _TRAITS, _RECENT, _CLOCK = 17, 20, 21, 4


def _from_1(fields: Fields) -> Fields:
    """Turn counts' instants to ms before the lead's clock and sums of 0 and 1 to integers; shorten traits and last events."""
    fields = list(fields)
    clock = fields[_CLOCK]
    fields[_COUNTS] = {
        key: [n, clock - last, int(sum_) if sum_ in (0, 1) else sum_, seen]
        for key, (n, last, sum_, seen) in fields[_COUNTS].items()
    }
    fields[_TRAITS] = [
        [at_ms, short_id(event_id), {short_name(path): value for path, value in paths.items()}]
        for at_ms, event_id, paths in fields[_TRAITS]
    ]
    fields[_RECENT] = close([tuple(entry) for entry in fields[_RECENT]])
    return [2, *fields[1:]]


def _from_2(fields: Fields) -> Fields:
    """Add no ties to other ids."""
    return [3, *fields[1:], None]


MIGRATIONS: Final[dict[int, Callable[[Fields], Fields]]] = {1: _from_1, 2: _from_2}
"""Version → what makes the next one of it."""

_encoder = msgspec.msgpack.Encoder()


def migrated(fields: Fields, version: int) -> bytes:
    """Return the packed state of *version* that *fields*, of an older one, make."""
    while fields[0] < version:
        fields = MIGRATIONS[fields[0]](fields)
    return _encoder.encode(fields)
