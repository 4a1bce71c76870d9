"""Which traits events set, for the check of a grid."""

from __future__ import annotations

from collections.abc import Iterable

from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.core.scoring.traits import TraitsRefused, leaves


def traits_seen(lines: Iterable[bytes]) -> set[str]:
    """Return the dotted paths of the traits that the `profile.updated` events among *lines* set. Other lines are left out."""
    found: set[str] = set()
    for line in lines:
        event = decode(Record("file", 0, 0, None, None, line))
        if isinstance(event, Event) and event.type == "profile.updated":
            try:
                news, _ = leaves(event.data["traits"])
            except TraitsRefused:
                continue
            found.update(path for path, value in news if value is not None)
    return found
