"""A line of a file that is a tick: `{"tick": "2026-03-05T12:00:00Z"}`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

_decode: Final = msgspec.json.Decoder().decode


def tick_of(line: bytes) -> Any:
    """Return what *line* holds as its `tick`, right or wrong; `None` when it is no tick.

    A line is a tick if its only member is `tick`. An event may have a member of that name among others.
    """
    try:
        held = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(held, dict) and held.keys() == {"tick"}:
        return "" if held["tick"] is None else held["tick"]
    return None
