"""Settings of programs that read the leads of a namespace in Redis, such as `leadpulse top`."""

from __future__ import annotations

from pydantic import Field

from worker.settings.connections import RedisConnection


class ReaderSettings(RedisConnection):
    """Where the leads are, and which grid evaluates them while none is in force."""

    namespace: str = Field(
        "default",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
        description="name of this scoring, in Redis keys, consumer group, internal topic and output source",
    )
    partitions: int = Field(
        8, ge=1, le=10_000, description="number of partitions of every input topic and of the internal topic"
    )
    grid: str = Field("saas-b2b", description="scoring grid: a file, or the name of a grid that comes with LeadPulse")

    @property
    def source(self) -> str:
        """`source` of the output events."""
        return f"/leadpulse/{self.namespace}"
