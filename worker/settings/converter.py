"""Settings of `leadpulse convert`."""

from __future__ import annotations

from pydantic import Field

from worker.settings.connections import FromEnvironment


class ConverterSettings(FromEnvironment):
    """How other formats become events."""

    visitor_salt: str = Field(
        "", description="secret key of the visitor ids; without it, anyone can compute an id from an address"
    )
