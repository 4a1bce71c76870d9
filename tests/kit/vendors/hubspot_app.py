"""A HubSpot whose app has webhooks, and where sales keep deals.

Deals by `PublicApiSpecs/CRM/Deals/…/2026-03/deals.json`. "Webhooks" is HubSpot's guide of that name: fields of the payload,
retries, and the signature (guide "Validating requests", version 3).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from tests.kit.signing import hubspot
from tests.kit.vendors.base import Reply, Request, route
from tests.kit.vendors.hubspot import HubSpot, refused

_DEALS: Final = r"/crm/(?:objects/2026-03|v3/objects)/deals"
_QUERY: Final = {"properties", "propertiesWithHistory", "associations", "archived", "idProperty"}
_MOST: Final = 100
"""Notifications of one request (guide Webhooks, "Notifications")."""
_ATTEMPTS: Final = 10
"""Tries of one request (guide Webhooks, "Retries"). HubSpot spreads them over a day."""
_AGAIN_S: Final = 0.5


@dataclass
class HubSpotApp(HubSpot):
    """A portal with deals, and an app that subscribes to new contacts, their properties, and the stages of deals."""

    secret: str = "s3cret-of-the-app"
    app: int = 1160452
    deals: dict[str, dict[str, str]] = field(default_factory=dict)
    contacts_of: dict[str, list[str]] = field(default_factory=dict)
    """Deal → its contacts."""
    target: str = ""
    """Where webhooks go, with the path that is signed. None are sent before it is known."""
    told: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    """Notifications that were answered with 2xx, each with when its change was (s)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._events = itertools.count(100)
        self._changes: asyncio.Queue[tuple[float, dict[str, Any]]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._sender = asyncio.create_task(self._send())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sender
        await super().__aexit__(kind, error, trace)

    # --- people of sales, in HubSpot's own pages

    def open_deal(self, contact: str, stage: str, amount: str) -> str:
        """Let sales make a deal of a contact, and return its id."""
        id_ = str(next(self._ids))
        self.deals[id_] = {"dealstage": stage, "amount": amount, "hubspot_owner_id": "501"}
        self.contacts_of[id_] = [contact]
        return id_

    def move_deal(self, id_: str, stage: str) -> float:
        """Let sales move a deal. Returns when (s)."""
        self.deals[id_]["dealstage"] = stage
        fields = {"propertyName": "dealstage", "propertyValue": stage}
        return self._changed("deal.propertyChange", id_, "CRM_UI", "userId:501", fields)

    # --- the API

    @route("GET", _DEALS + r"/([^/]+)")
    def read_deal(self, request: Request, id_: str) -> Reply:
        """Read a deal (components/schemas/SimplePublicObjectWithAssociations)."""
        if unknown := set(request.query) - _QUERY:
            raise refused("deals.json: get /{objectType}/{objectId}, parameters", f"unknown parameter {sorted(unknown)}")
        if id_ not in self.deals:
            raise refused("deals/{dealId}: 404", "resource not found", 404, "OBJECT_NOT_FOUND")
        asked = request.query.get("properties", "").split(",")
        held = {name: self.deals[id_].get(name) for name in asked if name} | {"hs_object_id": id_}
        shown: dict[str, Any] = {"id": id_, "properties": held, "archived": False}
        if "contacts" in request.query.get("associations", "").split(","):
            results = [{"id": one, "type": "deal_to_contact"} for one in self.contacts_of[id_]]
            shown["associations"] = {"contacts": {"results": results}}
        return Reply(200, shown)

    def _write(self, id_: str | None, one: dict[str, Any], key: str) -> dict[str, Any]:
        before = dict(self.contacts.get(id_ or "", {}))
        written = super()._write(id_, one, key)
        if written["new"]:
            self._changed("contact.creation", written["id"], *self._us, {"changeFlag": "CREATED"})
        self._properties(written["id"], before)
        return written

    @route("PATCH", r"/crm/(?:objects/2026-03|v3/objects)/contacts/([^/]+)")
    def patch(self, request: Request, id_: str) -> Reply:
        """Update one contact, and tell of it."""
        found = self._by(id_, request)
        before = dict(self.contacts[found])
        reply = super().patch(request, id_)
        self._properties(found, before)
        return reply

    # --- webhooks

    @property
    def _us(self) -> tuple[str, str]:
        """Who changes what the API writes (guide Webhooks: changeSource, sourceId)."""
        return "INTEGRATION", str(self.app)

    def _properties(self, contact: str, before: dict[str, str]) -> None:
        for name, value in self.contacts[contact].items():
            if before.get(name) != value:
                fields = {"propertyName": name, "propertyValue": value}
                self._changed("contact.propertyChange", contact, *self._us, fields)

    def _changed(self, kind: str, id_: str, source: str, by: str, fields: dict[str, Any]) -> float:
        """Note a change, to be told. Returns when it was (s)."""
        now = time.time()
        held = {
            "eventId": next(self._events), "subscriptionId": 25, "portalId": 33, "appId": self.app,
            "occurredAt": int(now * 1000), "subscriptionType": kind, "attemptNumber": 0, "objectId": int(id_),
            "changeSource": source, "sourceId": by, **fields,
        }  # fmt: skip
        self._changes.put_nowait((now, held))
        return now

    async def _send(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                some = [await self._changes.get()]
                while not self._changes.empty() and len(some) < _MOST:
                    some.append(self._changes.get_nowait())
                if self.target:
                    await self._deliver(session, some)

    async def _deliver(self, session: aiohttp.ClientSession, some: list[tuple[float, dict[str, Any]]]) -> None:
        for attempt in range(_ATTEMPTS):
            body = json.dumps([one | {"attemptNumber": attempt} for _, one in some]).encode()
            path = URL(self.target).raw_path
            signed = hubspot(self.secret, time.time_ns() // 1_000_000, path, body)
            headers = {**signed.headers, "Content-Type": "application/json"}
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(self.target, data=signed.body, headers=headers) as answer:
                    if answer.ok:
                        self.told += some
                        return
            await asyncio.sleep(_AGAIN_S)
        self.refusals.append(f"webhook not taken in {_ATTEMPTS} attempts: {self.target}")
