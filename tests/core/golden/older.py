"""States of today as an older version would have packed them: what lies in Redis on the day of an upgrade."""

from __future__ import annotations

from itertools import accumulate

import msgspec

from worker.core.scoring.once_per import entries
from worker.core.scoring.packing import TRAIT_NAMES, long_id, open_
from worker.core.scoring.state import STATE_VERSION

_TAG, _CLOCK, _ACTIVE, _FIT, _DUE, _MQL_AT, _SQL_AT = 1, 4, 5, 8, 10, 13, 14
_COUNTS, _PACES, _BARS, _TRAITS, _RECENT, _HISTORY = 17, 18, 19, 20, 21, 22


def as_version_1(packed: bytes) -> bytes:
    """Return *packed*, of version 6, as version 1 packed the same lead; the golden file holds this to what it wrote."""
    fields = msgspec.msgpack.decode(packed)
    assert (fields[0], STATE_VERSION) == (6, 6), "a newer version needs another step back"
    assert len(fields) == _HISTORY + 1, "version 1 knew nothing of aliases and phases"
    clock = fields[_CLOCK]
    fields[0] = 1
    fields[_TAG] %= 2**32
    for place in (_COUNTS, _PACES, _BARS):
        fields[place] = {key % 2**32: held for key, held in fields[place].items()}
    fields[_FIT] = float(fields[_FIT])
    for place in (_ACTIVE, _MQL_AT, _SQL_AT):
        fields[place] = fields[place] and clock + 1 - fields[place]
    fields[_DUE] = None if fields[_DUE] is None else clock - fields[_DUE]
    fields[_COUNTS] = {
        key: [n, clock - ago, float(total), _seen(seen, clock - ago)] for key, (n, ago, total, seen) in fields[_COUNTS].items()
    }
    fields[_TRAITS] = [
        [at_ms, long_id(event_id), {TRAIT_NAMES[path] if isinstance(path, int) else path: held for path, held in paths.items()}]
        for at_ms, event_id, paths in fields[_TRAITS]
    ]
    (domain,) = {paths["company.domain"] for _, _, paths in fields[_TRAITS] if "company.domain" in paths} or {None}
    for _, _, paths in fields[_TRAITS]:
        if isinstance(paths.get("email"), bytes):
            paths["email"] = f"{paths['email'].decode()}@{domain}"
    moves = fields[_HISTORY]
    fields[_HISTORY] = list(zip(moves[::2], accumulate(moves[1::2]), strict=True))
    if fields[_RECENT]:
        fields[_RECENT][0] = clock - fields[_RECENT][0]
    fields[_RECENT] = open_(fields[_RECENT])
    return msgspec.msgpack.encode(fields)


def _seen(seen: bytes, last: int) -> bytes:
    return b"".join(value + at_ms.to_bytes(6, "big") for at_ms, value in entries(seen, last))
