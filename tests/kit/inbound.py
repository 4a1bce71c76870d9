"""Webhooks of vendors through their maps, for tests."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from worker.connections.file import parse_connections
from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, cloud_event
from worker.intake.vendors.registry import mapped

RECEIVED_MS: Final = 1_790_000_000_000
"""When tests receive a webhook: in 2026, after all that vendors' examples tell of."""

_NEEDS: Final[dict[str, dict[str, Any]]] = {
    "ses": {"topic_arns": ["arn:aws:sns:eu-west-1:1:mail"]},
    "json": {"map": {"type": "type", "id": "id"}},
}


def source_of(vendor: str, **settings: Any) -> Source:
    """Return a source as the file of connections gives it."""
    source = {"vendor": vendor, "secrets": "${SECRET}", **_NEEDS.get(vendor, {}), **settings}
    written = {"public_url": "https://in.example.com", "sources": {"in": source}}
    return parse_connections(msgspec.json.encode(written), "connections.yaml").sources["in"]


def inbound_of(vendor: str, body: Any, **fields: Any) -> Inbound:
    """Return a webhook whose body is bytes, or anything else as JSON."""
    held = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Inbound("in", vendor, RECEIVED_MS, held, **fields)


def form(**fields: str) -> bytes:
    """Return the body of a form."""
    return urlencode(fields).encode()


def made_of(vendor: str, body: Any, headers: dict[str, str] | None = None, **settings: Any) -> Mapped:
    """Return what the vendor's map makes of *body*, for a source with *settings*."""
    return mapped(inbound_of(vendor, body, headers=headers or {}), source_of(vendor, **settings))


def events_of(vendor: str, body: Any, headers: dict[str, str] | None = None, **settings: Any) -> list[dict[str, Any]]:
    """Return the CloudEvents made of *body*, decoded. Nothing may have been refused."""
    made = made_of(vendor, body, headers, **settings)
    assert made.refused == []
    return [msgspec.json.decode(cloud_event(new, "in")) for new in made.events]


def told(event: dict[str, Any]) -> tuple[str, str, str, dict[str, Any]]:
    """Return what matters of an event: type, subject, time and data."""
    return event["type"], event["subject"], event["time"], event["data"]
