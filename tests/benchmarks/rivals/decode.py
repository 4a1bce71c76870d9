"""The decoder of the rivals that may choose theirs: msgspec, with the fields that they use."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Data(msgspec.Struct):
    """What the rules look at."""

    page_type: str | None = None


class Event(msgspec.Struct):
    """An event of the log."""

    id: str
    type: str
    subject: str
    time: datetime
    data: Data

    @property
    def at_ms(self) -> int:
        """When it happened."""
        return round(self.time.timestamp() * 1_000)


event = msgspec.json.Decoder(Event).decode
