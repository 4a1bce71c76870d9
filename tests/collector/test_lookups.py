"""Look-ups: asked when due, again when the API does not answer, given up after a day."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.kit.accounts import SECRETS as VENDOR_SECRETS
from tests.kit.accounts import vendors
from tests.kit.collected import NOW_MS, Memory, Served, served
from worker.adapters.vendor_api import NoAnswer, VendorApi
from worker.collector.lookups import GIVEN_UP_MS, NOT_FOUND_MS, Lookups, questions
from worker.collector.mapping import Made
from worker.connections.file import parse_connections
from worker.intake.vendors.common import Lookup

FILE = """\
public_url: https://in.example.com
sources:
  crm: {vendor: hubspot, secrets: "${KEY}", api: hub}
targets:
  hub: {kind: hubspot, token: "${TOKEN}"}
"""
SECRETS = {"KEY": "k", "TOKEN": "t"}
ABOUT = {"ask": "contact", "object": "7", "id": "x", "at_ms": str(NOW_MS)}


class Api:
    """Answers what a test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.error: NoAnswer | None = None

    async def __call__(self, target: str, path: str) -> bytes:
        self.asked.append((target, path))
        if self.error is not None:
            raise self.error
        return b'{"id":"7"}'


async def waiting(due_ms: int = 0) -> Memory:
    """Return a memory in which one look-up waits."""
    memory = Memory()
    made = Made("crm", NOW_MS, lookups=(Lookup("/crm/v3/objects/contacts/7", ABOUT, due_ms),))
    await memory.schedule(questions("crm", made))
    await memory.schedule(questions("crm", made))
    assert len(memory.wanted) == 1
    return memory


async def turn(collector: Served, memory: Memory, api: Api, late_ms: int = 0) -> None:
    """Ask what is due *late_ms* from now."""
    collector.collector.now_ms = lambda: NOW_MS + late_ms
    await Lookups(collector.collector, memory, api).turn()


async def test_an_answer_becomes_an_inbound_record() -> None:
    """With what was asked, so that mapping again needs no network."""
    async with served(FILE, SECRETS) as collector:
        memory, api = await waiting(), Api()
        await turn(collector, memory, api)
        assert api.asked == [("hub", "/crm/v3/objects/contacts/7")]
        [inbound] = collector.log.inbound()
        assert (inbound.kind, inbound.about, inbound.body, inbound.vendor) == ("lookup", ABOUT, b'{"id":"7"}', "hubspot")
        assert memory.wanted == {}


async def test_a_look_up_waits_until_it_is_due() -> None:
    """And not a moment less."""
    async with served(FILE, SECRETS) as collector:
        memory, api = await waiting(NOW_MS + 1_000), Api()
        await turn(collector, memory, api, 999)
        assert api.asked == []
        await turn(collector, memory, api, 1_000)
        assert len(api.asked) == 1


async def test_an_api_that_does_not_answer_is_asked_again() -> None:
    """More and more seldom, or as it says; given up after a day, as a dead letter with the reason."""
    async with served(FILE, SECRETS) as collector:
        memory, api = await waiting(), Api()
        api.error = NoAnswer("the API answers 503", status=503)
        await turn(collector, memory, api)
        assert list(memory.wanted.values()) == [NOW_MS + 5_000]
        api.error = NoAnswer("the API answers 429", status=429, after_s=60)
        await turn(collector, memory, api, 5_000)
        assert list(memory.wanted.values()) == [NOW_MS + 65_000]
        assert collector.log.records == []
        await turn(collector, memory, api, GIVEN_UP_MS + 1)
        assert memory.wanted == {}
        assert "given up" in json.loads(collector.log.inbound()[0].body)["message"]


async def test_what_is_not_there_is_given_up_sooner() -> None:
    """A report may take some minutes after the end."""
    async with served(FILE, SECRETS) as collector:
        memory, api = await waiting(), Api()
        api.error = NoAnswer("the API answers 404", status=404)
        await turn(collector, memory, api, NOT_FOUND_MS)
        assert len(memory.wanted) == 1
        await turn(collector, memory, api, NOT_FOUND_MS * 2)
        assert memory.wanted == {}


async def test_kafka_away_keeps_the_look_up() -> None:
    """It is asked again once its lease is over."""
    async with served(FILE, SECRETS) as collector:
        memory, api = await waiting(), Api()
        collector.log.refuses = True
        await turn(collector, memory, api)
        assert len(memory.wanted) == 1


async def test_each_kind_of_target_is_logged_in_to() -> None:
    """By a key in a header, or by a token that is asked for once; no redirect is followed."""
    seen: list[tuple[str, str]] = []

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        seen.append(("token", str(form["grant_type"])))
        return web.json_response({"access_token": "fresh", "expires_in": 3600})

    async def data(request: web.Request) -> web.Response:
        names = ("Authorization", "x-api-token", "Api-Token")
        seen.append((request.path, next(request.headers[name] for name in names if name in request.headers)))
        return web.json_response({}) if request.path != "/moved" else web.Response(status=302, headers={"Location": "/x"})

    app = web.Application()
    app.add_routes([web.post("/{path:.*token}", token), web.get("/{path:.*}", data)])
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        oauth = 'client_id: "${C}", client_secret: "${C}"'
        text = f"""\
targets:
  hub: {{kind: hubspot, token: "${{C}}", base_url: "{url}"}}
  pipe: {{kind: pipedrive, token: "${{C}}", base_url: "{url}"}}
  active: {{kind: activecampaign, token: "${{C}}", base_url: "{url}"}}
  zoho: {{kind: zoho, {oauth}, refresh_token: "${{C}}", base_url: "{url}", accounts_url: "{url}"}}
  zoom: {{kind: zoom, {oauth}, account_id: "${{C}}", base_url: "{url}", token_url: "{url}/oauth/token"}}
  goto: {{kind: goto, {oauth}, refresh_token: "${{C}}", base_url: "{url}", token_url: "{url}/oauth/token"}}
  sales: {{kind: salesforce, {oauth}, base_url: "{url}"}}
"""
        targets: Any = parse_connections(text.encode(), "connections.yaml").targets
        async with VendorApi(targets, {"C": "secret"}) as api:
            for name in targets:
                assert await api.ask(name, "/a?b=1") == b"{}"
                assert await api.ask(name, "/a?b=1") == b"{}"
            for path in ("/moved", "//evil.example/", "http://evil.example/"):
                try:
                    await api.ask("hub", path)
                except NoAnswer:
                    continue
                raise AssertionError(path)
    assert [kind for kind, _ in seen].count("token") == 4
    assert {held for path, held in seen if path == "/a"} == {"Bearer secret", "secret", "Zoho-oauthtoken fresh", "Bearer fresh"}


async def test_a_log_in_that_is_refused_gives_no_look_up_up() -> None:
    """OAuth refuses a wrong secret with 400. An operator mends it, and the look-up is asked again meanwhile."""
    async with vendors() as api, served(FILE, SECRETS) as collector:
        memory = await waiting()
        targets = api.connections(f"hub: {api.target('zoho', 'WRONG')}").targets
        async with VendorApi(targets, VENDOR_SECRETS) as asked:
            await Lookups(collector.collector, memory, asked.ask).turn()
        assert list(memory.wanted.values()) == [NOW_MS + 5_000]
        assert collector.log.records == []
