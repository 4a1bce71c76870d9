"""Settings of `leadpulse act`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from worker.logs import Format
from worker.settings.connections import GroupConnection
from worker.settings.reader import ReaderSettings
from worker.settings.topics import OUTPUT_TYPES, TopicNames


class ActSettings(ReaderSettings, TopicNames, GroupConnection):
    """Everything that the program reads that acts on outputs. Secrets do not show in `repr`."""

    automations: str = Field("automations.yaml", description="file of automations: what is done for which output")
    connections: str = Field("connections.yaml", description="file of connections: sites, sources and targets")
    documents: str = Field("documents", description="folder of the documents that are sent to be signed")
    act_dry: bool = Field(
        False,
        description="send nothing, and print each request on stdout instead; it keeps nothing in Redis, and reads as a group"
        " of its own",
    )
    clock: Literal["wall", "events"] = Field(
        "wall", description="what the age of an act is counted against; wall: the clock; events: the newest record's time"
    )
    metrics_host: str = Field(
        "127.0.0.1", description="address of the health and metrics pages; 0.0.0.0 for every network interface"
    )
    metrics_port: int = Field(6068, ge=0, le=65_535, description="port of the health and metrics pages; 0 picks a free one")
    log_format: Format = Field(
        "auto", description="format of the log: json, text, or auto (text on a terminal, JSON elsewhere)"
    )

    @property
    def group(self) -> str:
        """The consumer group. A dry run has its own, so that it takes nothing away from the program."""
        return f"leadpulse.{self.namespace}.act" + (".dry" if self.act_dry else "")

    def topics_of(self, types: Collection[str]) -> tuple[str, ...]:
        """Return the topics to read where the rules name *types*, sorted: those of outputs, and all inputs.

        Types of input events, which may cancel, have no topics of their own.
        """
        return tuple(sorted({*self.input_topics, *(self.output_topic(kind) for kind in types if kind in OUTPUT_TYPES)}))
