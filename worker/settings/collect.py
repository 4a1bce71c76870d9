"""Settings of `leadpulse collect`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from worker.core.contract.event_types import INPUT_TOPICS
from worker.logs import Format
from worker.settings.connections import GroupConnection, RedisConnection


class InboundSettings(RedisConnection, GroupConnection):
    """Where webhooks are kept, and what mappers remember of them. Secrets do not show in `repr`."""

    connections: str = Field("connections.yaml", description="file of connections: sites, sources and targets")
    seen_max: int = Field(
        1_000_000, ge=0, le=1_000_000_000, description="most ids of webhooks that are remembered for 72 hours; 0: none"
    )
    seen_redis: SecretStr | None = Field(
        None, description="Redis URL for these ids and for look-ups, if not that of the leads; it may contain a password"
    )

    @field_validator("session_timeout")
    @classmethod
    def _short(cls, seconds: float) -> float:
        return min(seconds, 10.0)  # an open transaction blocks every worker until another mapper ends it

    @property
    def group(self) -> str:
        """The group of the mappers. It has no namespace, because inputs are shared."""
        return "leadpulse.inbound"

    @property
    def memory(self) -> str:
        """The Redis of seen ids and look-ups."""
        return (self.seen_redis or self.redis).get_secret_value()

    @property
    def inbound_topic(self) -> str:
        """The topic of webhooks as they came."""
        return "lead.inbound"

    @property
    def dead_topic(self) -> str:
        """The topic of webhooks that could not be mapped."""
        return "lead.inbound.dead"

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that the group reads."""
        return (self.inbound_topic,)

    @property
    def needed_topics(self) -> tuple[str, ...]:
        """Every topic that a collector reads or writes."""
        return (*INPUT_TOPICS.values(), self.inbound_topic, self.dead_topic)


class CollectSettings(InboundSettings):
    """Everything that a collector reads. Secrets do not show in `repr`."""

    collect_host: str = Field(
        "127.0.0.1", description="address on which the collector takes events; 0.0.0.0 for every network interface"
    )
    collect_port: int = Field(8090, ge=0, le=65_535, description="port on which the collector takes events; 0 picks a free one")
    collect_only: Literal["all", "http", "map"] = Field(
        "all", description="http: take events and map none; map: map what others took; all: both in one process"
    )
    collect_queue: int = Field(
        64 * 1024 * 1024,
        ge=2 * 1024 * 1024,
        le=8 * 1024 * 1024 * 1024,
        description="most bytes of requests that wait for Kafka in one collector; further ones are asked to come again",
    )
    collect_proxies: int | None = Field(
        None,
        ge=0,
        le=10,
        description="proxies before the collector that append to X-Forwarded-For, 0 for none; unset: no limit per address",
    )
    metrics_host: str = Field(
        "127.0.0.1", description="address of the health and metrics pages; 0.0.0.0 for every network interface"
    )
    metrics_port: int = Field(6067, ge=0, le=65_535, description="port of the metrics page; 0 picks a free one")
    log_format: Format = Field(
        "auto", description="format of the log: json, text, or auto (text on a terminal, JSON elsewhere)"
    )
