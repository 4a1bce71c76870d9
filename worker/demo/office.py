"""The tools that the demo acts at: a CRM that takes tasks, and a mail service. Nothing that they take leaves this machine.

They answer as HubSpot and Brevo do, as far as acts of the demo ask them.
"""

from __future__ import annotations

import re
import time
from html import unescape
from typing import Any, Final, Literal, NamedTuple

import msgspec
from aiohttp import web

from worker.demo.signing import Secrets

_REFERENCE: Final = re.compile(r"<p>LeadPulse (?:\S+ )?(\S+) (\S+)</p>\Z")
"""Ends the body of each task: the namespace, its rule, and the id of the output."""
_VERSION: Final = "2026-03"


class Sent(NamedTuple):
    """A task or a mail that went out."""

    kind: Literal["task", "mail"]
    to: str
    """Of a task: the lead, by its CRM id or its address. Of a mail: the address."""
    owner: str
    """Of a task: who is to do it."""
    subject: str
    rule: str
    output: str
    """Id of the output that a task was made for; a mail does not tell."""
    at_ms: int
    """When it came, by this machine's clock."""


class Office:
    """Takes tasks and mails, on a loopback port."""

    def __init__(self, port: int, secrets: Secrets) -> None:
        self._port = port
        self._tokens = {f"Bearer {secrets.environment['DEMO_CRM']}", secrets.environment["DEMO_MAIL"]}
        self._runner: web.AppRunner | None = None
        self._names: dict[str, str] = {}
        """A contact's or an owner's id → address. Leads of the CRM have its own ids."""
        self._taken: list[Sent] = []
        self._count = 0

    async def open(self) -> None:
        """Serve."""
        app = web.Application(middlewares=[self._only_with_token])
        app.add_routes(
            [
                web.post(f"/crm/objects/{_VERSION}/contacts/batch/upsert", self._contacts),
                web.get(f"/crm/owners/{_VERSION}", self._owner),
                web.post(f"/crm/objects/{_VERSION}/tasks", self._task),
                web.post("/v3/smtp/email", self._mail),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def close(self) -> None:
        """Serve no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    def taken(self) -> list[Sent]:
        """Return what has come since the last call."""
        found, self._taken = self._taken, []
        return found

    @web.middleware
    async def _only_with_token(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization", request.headers.get("api-key", "")) not in self._tokens:
            return _answer({"message": "another token"}, 401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _contacts(self, request: web.Request) -> web.Response:
        """Find contacts by their addresses, or make them."""
        inputs = msgspec.json.decode(await request.read())["inputs"]
        results = [{"id": self._id_of(one["id"]), "objectWriteTraceId": one["objectWriteTraceId"]} for one in inputs]
        return _answer({"status": "COMPLETE", "results": results})

    async def _owner(self, request: web.Request) -> web.Response:
        return _answer({"results": [{"id": self._id_of(request.query["email"])}]})

    async def _task(self, request: web.Request) -> web.Response:
        task = msgspec.json.decode(await request.read())
        held, contact = task["properties"], task["associations"][0]["to"]["id"]
        rule, output = self._reference(unescape(held["hs_task_body"]))
        owner = self._names.get(held.get("hubspot_owner_id", ""), "")
        self._take(Sent("task", self._names.get(contact, contact), owner, held["hs_task_subject"], rule, output, _now_ms()))
        return _answer({"id": f"task-{self._count}"}, 201)

    async def _mail(self, request: web.Request) -> web.Response:
        mail = msgspec.json.decode(await request.read())
        self._take(Sent("mail", mail["to"][0]["email"], "", mail["subject"], mail["tags"][0], "", _now_ms()))
        return _answer({"messageId": f"<{self._count}@mail.acme.example>"}, 201)

    def _id_of(self, address: str) -> str:
        """Return the CRM's id of the contact or the owner with *address*, the same each time."""
        found = next((id_ for id_, held in self._names.items() if held == address), f"9{len(self._names):06d}")
        self._names[found] = address
        return found

    @staticmethod
    def _reference(body: str) -> tuple[str, str]:
        found = _REFERENCE.search(body)
        return (found[1], found[2]) if found else ("", "")

    def _take(self, sent: Sent) -> None:
        self._count += 1
        self._taken.append(sent)


def _answer(held: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(held), content_type="application/json")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
