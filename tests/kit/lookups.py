"""Look-ups of vendors' maps and their answers, for tests."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tests.kit.inbound import RECEIVED_MS, inbound_of
from worker.connections.api_paths import path_at
from worker.connections.file import parse_connections
from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Lookup, Mapped, cloud_event
from worker.intake.vendors.registry import mapped

_OAUTH: Final = {"client_id": "${ID}", "client_secret": "${SECRET}"}
TARGETS: Final[dict[str, dict[str, Any]]] = {
    "hubspot": {"token": "${TOKEN}"},
    "salesforce": {**_OAUTH, "base_url": "https://acme.my.salesforce.com"},
    "zoho": {**_OAUTH, "refresh_token": "${TOKEN}"},
    "zoom": {**_OAUTH, "account_id": "${ACCOUNT}"},
    "goto": {**_OAUTH, "refresh_token": "${TOKEN}"},
}
"""A target of each kind that answers look-ups."""


def connected(vendor: str, target: dict[str, Any] | None = None, **settings: Any) -> tuple[Source, Any]:
    """Return a source with `api`, and the target that answers it."""
    written = {
        "public_url": "https://in.example.com",
        "sources": {"in": {"vendor": vendor, "secrets": "${SECRET}", "api": "asked", **settings}},
        "targets": {"asked": {"kind": vendor, **TARGETS[vendor], **(target or {})}},
    }
    held = parse_connections(msgspec.json.encode(written), "connections.yaml")
    return held.sources["in"], held.targets["asked"]


def asked(vendor: str, body: Any, **settings: Any) -> Mapped:
    """Return what the map makes of *body*, for a source with `api`."""
    return mapped(inbound_of(vendor, body), connected(vendor, **settings)[0])


def addresses(vendor: str, made: Mapped, **target: Any) -> list[str]:
    """Return the addresses that are asked."""
    asked_at = connected(vendor, target)[1]
    return [asked_at.base_url + path_at(one.path, asked_at) for one in made.lookups]


def answered(vendor: str, lookup: Lookup, body: Any, **settings: Any) -> Mapped:
    """Return what the map makes of the answer *body* to *lookup*."""
    held = body if isinstance(body, bytes) else msgspec.json.encode(body)
    inbound = Inbound("in", vendor, RECEIVED_MS, held, kind="lookup", about=dict(lookup.about))
    return mapped(inbound, connected(vendor, **settings)[0])


def said(made: Mapped) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return type, subject, time and data of each event. Nothing may have been refused."""
    assert made.refused == []
    held = [msgspec.json.decode(cloud_event(new, "in")) for new in made.events]
    return [(one["type"], one["subject"], one["time"], one["data"]) for one in held]


def ids(made: Mapped) -> list[str]:
    """Return the events' ids."""
    return [f"{new.id}:{new.type}" for new in made.events]
