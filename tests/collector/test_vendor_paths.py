"""What the maps ask arrives at the vendors' APIs as they wrote it."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.kit.inbound import inbound_of
from tests.kit.lookups import TARGETS
from worker.adapters.vendor_api import VendorApi
from worker.connections.file import parse_connections
from worker.intake.vendors.registry import mapped

WEBHOOKS: dict[str, Any] = {
    "hubspot": [
        {
            "subscriptionId": 1,
            "eventId": 2,
            "occurredAt": 1462216307945,
            "objectId": 77,
            "subscriptionType": "deal.propertyChange",
            "propertyName": "dealstage",
            "propertyValue": "won",
        }
    ],
    "salesforce": {"type": "Opportunity", "Id": "0065w000023STAmAAO", "StageName": "won"},
    "zoho": {"server_time": 1718115953625, "module": "Leads", "operation": "insert", "ids": ["5725767000003000010"]},
    "zoom": {
        "event": "webinar.ended",
        "event_ts": 1767265200123,
        "payload": {"object": {"id": "9", "uuid": "/abc//d==", "duration": 60}},
    },
    "goto": {
        "eventName": "registrant.joined",
        "webinarCreatorKey": 300000000000384444,
        "webinarKey": 8471289347212345678,
        "sessionKey": 1,
        "joinTime": 1767261600000,
    },
}
ASKED = {
    "hubspot": [
        "/crm/objects/2026-03/deals/77?properties=dealstage,amount,hubspot_owner_id,closed_lost_reason&associations=contacts"
    ],
    "salesforce": [
        "/services/data/v66.0/query?q=SELECT%20ContactId%20FROM%20OpportunityContactRole%20WHERE%20OpportunityId%20%3D%20"
        "%270065w000023STAmAAO%27%20ORDER%20BY%20IsPrimary%20DESC"
    ],
    "zoho": ["/crm/v8/Leads/5725767000003000010"],
    "zoom": [
        "/report/webinars/%252Fabc%252F%252Fd%253D%253D/participants?page_size=300&include_fields=registrant_id",
        "/past_webinars/%252Fabc%252F%252Fd%253D%253D/absentees?page_size=300",
    ],
    "goto": ["/G2W/rest/v2/organizers/300000000000384444/webinars/8471289347212345678/sessions?page=0&size=200"],
}


async def test_what_the_maps_ask_arrives_as_they_wrote_it() -> None:
    """With the target's version filled in, and encoded neither less nor more."""
    seen: list[str] = []

    async def token(_request: web.Request) -> web.Response:
        return web.json_response({"access_token": "fresh", "expires_in": 3600})

    async def data(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.json_response({})

    app = web.Application()
    app.add_routes([web.post("/{path:.*}", token), web.get("/{path:.*}", data)])
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        sources = {vendor: {"vendor": vendor, "secrets": "${S}", "api": vendor} for vendor in WEBHOOKS}
        for vendor in ("hubspot", "salesforce"):
            sources[vendor] |= {"stages": {"won": "crm.won"}}  # type: ignore[dict-item]
        targets = {vendor: {"kind": vendor, **TARGETS[vendor], "base_url": url} for vendor in WEBHOOKS}
        for vendor, name in (("zoom", "token_url"), ("goto", "token_url"), ("zoho", "accounts_url")):
            targets[vendor][name] = f"{url}/oauth"
        written = {"public_url": "https://in.example.com", "sources": sources, "targets": targets}
        held = parse_connections(msgspec.json.encode(written), "connections.yaml")
        environment = dict.fromkeys(("S", "TOKEN", "ID", "SECRET", "ACCOUNT"), "x")
        async with VendorApi(held.targets, environment) as api:
            for vendor, body in WEBHOOKS.items():
                seen.clear()
                for lookup in mapped(inbound_of(vendor, body), held.sources[vendor]).lookups:
                    await api.ask(vendor, lookup.path)
                assert seen == ASKED[vendor]
