"""States of today as an older version would have packed them: what lies in Redis on the day of an upgrade."""

from __future__ import annotations

import msgspec

from worker.core.short import TRAIT_NAMES, long_id, open_
from worker.core.state import STATE_VERSION

_COUNTS, _TRAITS, _RECENT, _CLOCK, _FIT = 17, 20, 21, 4, 8


def as_version_1(packed: bytes) -> bytes:
    """Return *packed*, of version 3, as version 1 packed the same lead; the golden file holds this to what it wrote."""
    fields = msgspec.msgpack.decode(packed)
    assert (fields[0], STATE_VERSION) == (3, 3), "a newer version needs another step back"
    assert fields.pop() is None, "version 1 knew nothing of aliases"
    clock = fields[_CLOCK]
    fields[0] = 1
    fields[_FIT] = float(fields[_FIT])
    fields[_COUNTS] = {key: [n, clock - ago, float(total), seen] for key, (n, ago, total, seen) in fields[_COUNTS].items()}
    fields[_TRAITS] = [
        [at_ms, long_id(event_id), {TRAIT_NAMES[path] if isinstance(path, int) else path: held for path, held in paths.items()}]
        for at_ms, event_id, paths in fields[_TRAITS]
    ]
    fields[_RECENT] = open_(fields[_RECENT])
    return msgspec.msgpack.encode(fields)
