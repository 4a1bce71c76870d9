"""Settings of `leadpulse archive`."""

from __future__ import annotations

from typing import Final

from pydantic import Field, model_validator

from worker.core.contract import output_types
from worker.logs import Format
from worker.settings.connections import GroupConnection
from worker.settings.reader import ReaderSettings
from worker.settings.topics import OUTPUT_TYPES, TopicNames

_MB: Final = 1024 * 1024


class ArchiveSettings(ReaderSettings, TopicNames, GroupConnection):
    """Everything that the program reads that archives topics. Secrets do not show in `repr`."""

    archive_to: str | None = Field(
        None, description="place of the archive: a folder, or an address of fsspec, such as s3://bucket/path"
    )
    archive_every: float = Field(300.0, gt=0, le=86_400, description="seconds after which what is read is in a file, at most")
    archive_rows: int = Field(500_000, ge=1, le=10_000_000, description="most records in a file that is written")
    archive_bytes: int = Field(
        64 * _MB, ge=1024, le=1024 * _MB, description="bytes of records, uncompressed, after which a file is written"
    )
    archive_memory: int = Field(
        512 * _MB, ge=_MB, le=64 * 1024 * _MB, description="bytes of records that wait to be written, at which reading pauses"
    )
    archive_forget_every: float = Field(
        60.0, gt=0, le=86_400, description="seconds between looks for erased persons; one pass over all files erases them"
    )
    metrics_host: str = Field(
        "127.0.0.1", description="address of the health and metrics pages; 0.0.0.0 for every network interface"
    )
    metrics_port: int = Field(6069, ge=0, le=65_535, description="port of the health and metrics pages; 0 picks a free one")
    log_format: Format = Field(
        "auto", description="format of the log: json, text, or auto (text on a terminal, JSON elsewhere)"
    )

    @model_validator(mode="after")
    def _no_topic_twice(self) -> ArchiveSettings:
        both = sorted(({self.internal_topic} | self._outputs()) & set(self.input_topics))
        if both:
            raise ValueError(f"input_topics: {', '.join(both)} is written by LeadPulse itself and cannot be an input")
        return self

    @property
    def place(self) -> str:
        """The place of the archive."""
        return self.archive_to or ""

    @property
    def group(self) -> str:
        """The consumer group. It shares the partitions among processes, and commits nothing."""
        return f"leadpulse.{self.namespace}.archive"

    @property
    def internal_topic(self) -> str:
        """The journal."""
        return f"leadpulse.{self.namespace}.internal"

    @property
    def dead_topic(self) -> str:
        """Records that were refused."""
        return self.output_topic(output_types.DEAD_LETTERS)

    def _outputs(self) -> set[str]:
        found = {self.output_topic(kind) for kind in OUTPUT_TYPES} | {self.acted_topic}
        if output_types.HISTORY in self.output_topics:
            found.add(self.output_topic(output_types.HISTORY))
        return found

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that is archived where it exists, sorted: inputs, journal, outputs and dead letters."""
        return tuple(sorted({*self.input_topics, self.internal_topic, *self._outputs()}))
