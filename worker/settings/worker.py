"""The worker's settings."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from worker.core.contract import output_types
from worker.core.contract.instants import instant
from worker.logs import Format
from worker.settings.connections import GroupConnection
from worker.settings.reader import ReaderSettings
from worker.settings.topics import OUTPUT_TYPES, TopicNames, words

ASKED_FOR_TYPES = tuple(row.name for row in output_types.OUTPUTS if row.asked_by)
"""Output types that are published only if the grid asks for them (`identity`, `accounts`, `phases`)."""


class Settings(ReaderSettings, TopicNames, GroupConnection):
    """Everything that a worker reads, and so do commands that operate its namespace. Secrets do not show in `repr`."""

    silent_before: str = Field(
        "",
        description="instant (RFC 3339); transitions of the time before it are kept, but published only to the topic of"
        " lead.history in output_topics, or to none (for imports of history)",
    )
    clock: Literal["wall", "events"] = Field(
        "wall", description="wall: ticks advance time; events: each lead's own events advance it (for backfilling and tests)"
    )
    metrics_host: str = Field(
        "127.0.0.1", description="address of the health and metrics pages; 0.0.0.0 for every network interface"
    )
    metrics_port: int = Field(6066, ge=0, le=65_535, description="port of the health and metrics pages; 0 picks a free one")
    tick_interval: float = Field(
        10.0, gt=0, le=600, description="seconds between a partition's ticks, and between idle commits"
    )
    publish_interval: float = Field(0.1, ge=0, le=5, description="seconds between transactions while there is output")
    regrade_rate: int = Field(
        2_000,
        ge=1,
        le=10_000_000,
        description="leads a second, over all partitions, that are evaluated again after a grid change, the hottest first",
    )
    max_batch: int = Field(1_000, ge=1, le=100_000, description="most records in one batch of a partition")
    pass_over: Annotated[tuple[str, ...], BeforeValidator(words)] = Field(
        (),
        description="damaged batches of the input topics to pass over: TOPIC:PARTITION:OFFSET of a batch's first record,"
        " separated by commas; only the places of their records go to the dead letters",
    )
    max_bad_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of bad records among a partition's last 1,000 (at least 200 bad) that stops the worker",
    )
    log_format: Format = Field(
        "auto", description="format of the log: json, text, or auto (text on a terminal, JSON elsewhere)"
    )
    traces: bool = Field(
        False, description="send spans by OTLP to OTEL_EXPORTER_OTLP_ENDPOINT; needs pip install 'leadpulse[otel]'"
    )
    accept_loss: bool = Field(
        False,
        description="continue past records that retention deleted before they were read (they are lost), instead of stopping",
    )
    checkpoints: str | None = Field(
        None,
        description="place of the checkpoints: a folder that all workers share, or an address of fsspec, such as"
        " s3://bucket/path (needs pip install 'leadpulse[checkpoints]')",
    )
    checkpoint_every: float = Field(
        6.0,
        ge=0,
        le=24 * 365,
        description="hours between two checkpoints of a partition; 0: only `leadpulse checkpoint` writes them",
    )
    checkpoint_keep: int = Field(
        3, ge=1, le=1_000, description="number of checkpoints that are kept of each partition, the newest ones"
    )

    @field_validator("pass_over")
    @classmethod
    def _places(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        for place in places:
            topic, *numbers = place.rsplit(":", 2)
            if not topic or len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
                raise ValueError("expected TOPIC:PARTITION:OFFSET, separated by commas")
        return places

    @field_validator("silent_before")
    @classmethod
    def _an_instant(cls, text: str) -> str:
        if text and instant(text) is None:
            raise ValueError(f"{text!r} is no instant: write RFC 3339 with an offset, as in 2026-12-01T00:00:00Z")
        return text

    @model_validator(mode="after")
    def _no_loop(self) -> Settings:
        both = sorted(({self.internal_topic} | set(self.outputs)) & set(self.input_topics))
        if both:
            raise ValueError(f"input_topics: {', '.join(both)} is written by the worker itself and cannot be an input")
        if self.internal_topic in self.outputs:
            raise ValueError(f"output_topics: {self.internal_topic} is the internal topic and cannot be an output")
        return self

    @property
    def group(self) -> str:
        """The consumer group, whose offsets carry the last published batch."""
        return f"leadpulse.{self.namespace}"

    @property
    def internal_topic(self) -> str:
        """The topic whose partition p is p's journal."""
        return f"leadpulse.{self.namespace}.internal"

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that the worker reads, sorted: the inputs and the internal one."""
        return tuple(sorted((*self.input_topics, self.internal_topic)))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every topic that the worker writes for others, sorted, after routing."""
        return self.outputs_but(())

    def outputs_but(self, kinds: Collection[str]) -> tuple[str, ...]:
        """Return the topics of `outputs` without those that only the output types *kinds* go to."""
        found = {self.output_topic(kind) for kind in OUTPUT_TYPES if kind not in kinds}
        if output_types.HISTORY in self.output_topics:
            found.add(self.output_topics[output_types.HISTORY])
        return tuple(sorted(found))

    @property
    def silent_before_ms(self) -> int:
        """The instant `silent_before`; 0: none."""
        return (instant(self.silent_before) or 0) if self.silent_before else 0
