"""Log-ins of OAuth: once for all callers, kept until they end, and never hammered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer

from worker.adapters.vendor_login import NoAnswer, VendorLogin
from worker.connections.secret import Secret
from worker.connections.targets import HubSpotTarget, SalesforceTarget, Target, ZohoTarget

SECRETS = {"ID": "client", "SECRET": "s3cret", "REFRESH": "r3fresh", "TOKEN": "t0ken"}


@dataclass
class Clock:
    """A clock that stands still."""

    now: float = 1_000.0

    def __call__(self) -> float:
        """Return the present instant, in seconds."""
        return self.now


@dataclass
class Accounts:
    """A server that gives tokens."""

    url: str = ""
    forms: list[dict[str, str]] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    status: int = 200
    answer: dict[str, Any] = field(default_factory=dict)

    async def token(self, request: web.Request) -> web.Response:
        """Give the next token, a little later, so that many callers wait at once."""
        form = await request.post()
        self.forms.append({name: str(value) for name, value in form.items()})
        self.users.append(request.headers["Authorization"])
        await asyncio.sleep(0.01)
        return web.json_response(self.answer or {"access_token": f"token-{len(self.forms)}"}, status=self.status)


@pytest.fixture
async def accounts() -> AsyncIterator[Accounts]:
    """The server."""
    held = Accounts()
    app = web.Application()
    app.router.add_post("/{path:.*}", held.token)
    async with TestServer(app) as server:
        held.url = str(server.make_url("")).rstrip("/")
        yield held


def salesforce(url: str) -> Target:
    """Return a target at *url*."""
    return SalesforceTarget(kind="salesforce", base_url=url, client_id=Secret("${ID}"), client_secret=Secret("${SECRET}"))


def zoho(url: str, **more: Any) -> Target:
    """Return a target whose accounts are at *url*."""
    return ZohoTarget(
        kind="zoho", accounts_url=url, client_id=Secret("${ID}"), client_secret=Secret("${SECRET}"),
        refresh_token=Secret("${REFRESH}"), **more,
    )  # fmt: skip


async def test_any_number_of_callers_wait_for_one_log_in(accounts: Accounts) -> None:
    """Vendors limit how many tokens there are, and an older one may end with a newer."""
    async with VendorLogin({"crm": salesforce(accounts.url)}, SECRETS) as login:
        assert set(await asyncio.gather(*(login.token("crm") for _ in range(50)))) == {"token-1"}
        assert accounts.forms == [{"grant_type": "client_credentials"}]
        assert accounts.users == [encode_basic_auth("client", "s3cret")]


async def test_a_refused_token_is_renewed_once(accounts: Accounts) -> None:
    """Each of many requests hears 401, but only the first one throws the token away."""
    async with VendorLogin({"crm": salesforce(accounts.url)}, SECRETS) as login:
        assert await login.token("crm") == "token-1"

        async def refused() -> str:
            login.forget("crm", "token-1")
            return await login.token("crm")

        assert set(await asyncio.gather(*(refused() for _ in range(20)))) == {"token-2"}
        login.forget("crm", "token-1")
        assert await login.token("crm") == "token-2"
        assert len(accounts.forms) == 2


async def test_a_token_is_renewed_before_it_ends(accounts: Accounts) -> None:
    """Two minutes before, or after half of a short life."""
    clock = Clock()
    for lasts_s, kept_s in ((3_600, 3_480), (100, 50)):
        accounts.answer = {"access_token": "t", "expires_in": lasts_s}
        asked = len(accounts.forms)
        async with VendorLogin({"crm": salesforce(accounts.url)}, SECRETS, clock) as login:
            await login.token("crm")
            clock.now += kept_s - 1
            await login.token("crm")
            assert len(accounts.forms) == asked + 1
            clock.now += 1
            await login.token("crm")
            assert len(accounts.forms) == asked + 2


async def test_a_log_in_that_fails_is_not_hammered(accounts: Accounts) -> None:
    """All who wait hear the first failure; after some seconds it is tried again."""
    accounts.status = 400
    clock = Clock()
    async with VendorLogin({"crm": salesforce(accounts.url)}, SECRETS, clock) as login:
        results = await asyncio.gather(*(login.token("crm") for _ in range(20)), return_exceptions=True)
        assert {type(one) for one in results} == {NoAnswer}
        assert {one.status for one in results if isinstance(one, NoAnswer)} == {401}
        assert len(accounts.forms) == 1
        accounts.status, clock.now = 200, clock.now + 5
        assert await login.token("crm") == "token-2"


async def test_zoho_refuses_with_200(accounts: Accounts) -> None:
    """The error's name is shown, and nothing else of the answer."""
    accounts.answer = {"error": "invalid_code", "hint": "r3fresh"}
    async with VendorLogin({"crm": zoho(accounts.url)}, SECRETS) as login:
        with pytest.raises(NoAnswer, match=r"gave no token: invalid_code$") as raised:
            await login.token("crm")
        assert raised.value.status == 401
    assert accounts.forms == [
        {"grant_type": "refresh_token", "refresh_token": "r3fresh", "client_id": "client", "client_secret": "s3cret"}
    ]


async def test_zohos_data_centre_is_named(accounts: Accounts) -> None:
    """A token of one data centre is worth nothing at another."""
    accounts.answer = {"access_token": "t", "api_domain": "https://www.zohoapis.eu"}
    async with VendorLogin(
        {"crm": zoho(accounts.url), "eu": zoho(accounts.url, base_url="https://www.zohoapis.eu")}, SECRETS
    ) as login:
        with pytest.raises(NoAnswer, match=r"write `base_url: https://www\.zohoapis\.eu`"):
            await login.token("crm")
        assert await login.headers("eu") == {"Authorization": "Zoho-oauthtoken t"}


async def test_a_fixed_token_needs_no_log_in() -> None:
    """Its header is made of the secret."""
    target = HubSpotTarget(kind="hubspot", token=Secret("${TOKEN}"))
    async with VendorLogin({"crm": target}, SECRETS) as login:
        assert await login.token("crm") == ""
        assert await login.headers("crm") == {"Authorization": "Bearer t0ken"}
