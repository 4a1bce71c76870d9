"""From older layouts of the packed state to the next: pure functions on the decoded list, one step each.

A step knows its two versions and nothing else. So it changes only when it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from worker.core.scoring.packing import TRAIT_NUMBERS, close, short_id, shorten_address

Fields = list[Any]
"""A state as msgpack decodes it: the fields of `LeadState` in order, the first of them the version."""

_CLOCK, _ACTIVE, _DUE, _MQL_AT, _SQL_AT = 4, 5, 10, 13, 14
_COUNTS, _TRAITS, _RECENT, _HISTORY = 17, 20, 21, 22


def _from_1(fields: Fields) -> Fields:
    """Turn counts' instants to ms before the lead's clock and sums of 0 and 1 to integers; shorten traits and last events."""
    fields = list(fields)
    clock = fields[_CLOCK]
    fields[_COUNTS] = {
        key: [n, clock - last, int(sum_) if sum_ in (0, 1) else sum_, seen]
        for key, (n, last, sum_, seen) in fields[_COUNTS].items()
    }
    fields[_TRAITS] = [
        [at_ms, short_id(event_id), {TRAIT_NUMBERS.get(path, path): value for path, value in paths.items()}]
        for at_ms, event_id, paths in fields[_TRAITS]
    ]
    fields[_RECENT] = close([tuple(entry) for entry in fields[_RECENT]])
    return [2, *fields[1:]]


def _from_2(fields: Fields) -> Fields:
    """Add no ties to other ids."""
    return [3, *fields[1:], None]


def _from_3(fields: Fields) -> Fields:
    """Turn more instants to ms before the lead's clock, or since the one before; those of remembered values to their low bytes.

    Of an address with the company's domain leave the domain out.
    """
    fields = list(fields)
    clock = fields[_CLOCK]
    fields[_COUNTS] = {
        key: [n, ago, sum_, _from_3_seen(seen, clock - ago)] for key, (n, ago, sum_, seen) in fields[_COUNTS].items()
    }
    for place in (_ACTIVE, _MQL_AT, _SQL_AT):
        if fields[place]:
            fields[place] = clock + 1 - fields[place] or clock + 1
    if fields[_DUE] is not None:
        fields[_DUE] = clock - fields[_DUE]
    if fields[_RECENT]:
        fields[_RECENT] = [clock - fields[_RECENT][0], *fields[_RECENT][1:]]
    shorten_address(fields[_TRAITS])
    instants = [0, *(at_ms for _, at_ms in fields[_HISTORY])]
    fields[_HISTORY] = [
        number for (stage, at_ms), before in zip(fields[_HISTORY], instants, strict=False) for number in (stage, at_ms - before)
    ]
    return [4, *fields[1:]]


def _from_3_seen(seen: bytes, last: int) -> bytes:
    """From mark and instant, 6 bytes each, by rising instant."""
    if not seen or last - int.from_bytes(seen[6:12], "big") < 2**32:
        return b"".join(seen[at : at + 6] + seen[at + 8 : at + 12] for at in range(0, len(seen), 12))
    return seen + b"\0"


def _from_4(fields: Fields) -> Fields:
    """Leave keys of rules and the grid's tag at 32 bits: the lead is judged again, and a grid knows its keys by these bits."""
    return [5, *fields[1:]]


def _from_5(fields: Fields) -> Fields:
    """Leave trailing fields that a lead does not use unwritten: what has them still is read alike."""
    return [6, *fields[1:]]


MIGRATIONS: Final[dict[int, Callable[[Fields], Fields]]] = {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4, 5: _from_5}
"""Version → what makes the next one of it."""

_encoder = msgspec.msgpack.Encoder()


def migrated(fields: Fields, version: int) -> bytes:
    """Return the packed state of *version* that *fields*, of an older one, make."""
    while fields[0] < version:
        fields = MIGRATIONS[fields[0]](fields)
    return _encoder.encode(fields)
