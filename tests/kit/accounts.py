"""All vendors' APIs in one server of this process: each answers our log-in alone, and its own few paths."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from worker.connections.file import parse_connections
from worker.connections.models import Connections

SECRETS = {"GOOD": "good", "WRONG": "wrong"}

ANSWERS: dict[str, Any] = {
    "/account-info/2026-03/details": {"portalId": 4711},
    "/crm/properties/2026-03/contacts/leadpulse_id": {"name": "leadpulse_id", "hasUniqueValue": True},
    "/account-info/v3/details": {"portalId": 4711},
    "/crm/v3/properties/contacts/leadpulse_id": {"name": "leadpulse_id", "hasUniqueValue": False},
    "/services/data/v66.0/query?q=SELECT%20Name%20FROM%20Organization": {"records": [{"Name": "Acme"}]},
    "/services/data/v66.0/query?q=SELECT%20LeadPulse_Id__c%20FROM%20Lead%20LIMIT%201": {"records": []},
    "/crm/v8/org": {"org": [{"company_name": "Acme"}]},
    "/api/v1/users/me": {"data": {"company_name": "Acme", "email": "ann@acme.example"}},
    "/api/3/users/me": {"user": {"email": "ann@acme.example"}},
    "/v3/account": {"companyName": "Acme"},
    "/signature_requests?limit=1": {"data": []},
}
_HEADERS = ("Authorization", "x-api-token", "Api-Token", "api-key")

_OAUTH = 'client_id: "${S}", client_secret: "${S}"'
TARGETS = {
    "hubspot": 'token: "${S}", base_url: "URL"',
    "salesforce": f'{_OAUTH}, base_url: "URL"',
    "zoho": f'{_OAUTH}, refresh_token: "${{S}}", base_url: "URL", accounts_url: "URL"',
    "pipedrive": 'token: "${S}", base_url: "URL"',
    "activecampaign": 'token: "${S}", base_url: "URL"',
    "brevo": 'token: "${S}", base_url: "URL"',
    "yousign": 'token: "${S}", base_url: "URL"',
    "zoom": f'{_OAUTH}, account_id: "${{S}}", base_url: "URL", token_url: "URL/oauth/token"',
    "goto": f'{_OAUTH}, refresh_token: "${{S}}", base_url: "URL", token_url: "URL/oauth/token"',
}
"""Kind → the settings of a target at the server, whose secrets are all `S`."""


class Vendors:
    """The server, what it answers and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers = dict(ANSWERS)
        self.status: dict[str, int] = {}
        """Path → another status than 200."""
        self.asked: list[tuple[str, str]] = []
        """Method and path of each request."""

    def target(self, kind: str, secret: str = "GOOD", more: str = "") -> str:
        """Return the settings of a target at the server."""
        held = TARGETS[kind].replace("URL", self.url).replace("${S}", f"${{{secret}}}")
        return f"{{kind: {kind}, {held}{more}}}"

    def connections(self, *targets: str, sources: str = "") -> Connections:
        """Return connections with *targets* (`name: {…}` each) and the text *sources*."""
        written = "public_url: https://in.example.com\n" + sources
        if targets:
            written += "targets:\n" + "".join(f"  {one}\n" for one in targets)
        return parse_connections(written.encode(), "connections.yaml")


@asynccontextmanager
async def vendors() -> AsyncIterator[Vendors]:
    """Serve the APIs."""
    held: list[Vendors] = []

    async def answer(request: web.Request) -> web.Response:
        [state] = held
        state.asked.append((request.method, request.raw_path))
        if request.method == "POST":
            return await _log_in(request)
        given = next((request.headers[name] for name in _HEADERS if name in request.headers), "")
        if given.split(" ")[-1] not in ("good", "fresh"):
            return web.Response(status=401)
        if (status := state.status.get(request.raw_path, 200)) != 200:
            return web.Response(status=status)
        found = state.answers.get(request.raw_path)
        if isinstance(found, bytes):
            return web.Response(body=found)
        return web.Response(status=404) if found is None else web.json_response(found)

    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", answer)])
    async with TestServer(app) as server:
        held.append(Vendors(str(server.make_url("")).rstrip("/")))
        yield held[0]


async def _log_in(request: web.Request) -> web.Response:
    """Answer OAuth's log-in. Like most vendors it refuses with 400."""
    form = await request.post()
    good = request.headers.get("Authorization", "") == "Basic Z29vZDpnb29k"
    if good and form.get("grant_type") in ("refresh_token", "client_credentials", "account_credentials"):
        return web.json_response({"access_token": "fresh", "expires_in": 3600})
    return web.json_response({"error": "invalid_client"}, status=400)
