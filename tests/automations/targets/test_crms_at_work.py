"""The program that acts on each CRM over HTTP, while answers are lost, servers fail and log-ins end."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NamedTuple

import pytest

from tests.kit.acting import Acting
from tests.kit.vendors.base import OAuthVendor, Reply, Vendor
from tests.kit.vendors.hubspot import HubSpot
from tests.kit.vendors.pipedrive import Pipedrive
from tests.kit.vendors.salesforce import Salesforce
from tests.kit.vendors.zoho import Zoho
from tests.kit.waits import until
from worker.adapters.http_out import HttpOut
from worker.adapters.vendor_login import VendorLogin
from worker.automations.live import VendorTokens
from worker.automations.targets.common import Rate
from worker.automations.targets.registry import KINDS

OAUTH = {"client_id": "${X}", "client_secret": "${X}"}
CALL = """
acts:
  - {id: call, on: lead.sql, to: crm, do: task, with: {subject: "Call {{ lead_id }}", owner: anna@example.com}, max: 10000/h}
"""
LEADS = 8
REFERENCE = re.compile(r"LeadPulse call (lead-\d+:\d+)")


class Crm(NamedTuple):
    """A vendor, and where it makes tasks."""

    vendor: Callable[[], Any]
    settings: dict[str, Any]
    create: str
    texts: Callable[[Any], Iterable[str]]
    """The texts of all tasks, in which their references are."""


CRMS = {
    "hubspot": Crm(HubSpot, {"token": "${T}"}, "/tasks$", lambda v: [one["hs_task_body"] for one in v.tasks.values()]),
    "salesforce": Crm(Salesforce, OAUTH, "/sobjects/Task$", lambda v: [one["Description"] for one in v.of("Task")]),
    "zoho": Crm(
        Zoho, {**OAUTH, "refresh_token": "${X}"}, "/Tasks$", lambda v: [one["Description"] for one in v.rows["Tasks"].values()]
    ),
    "pipedrive": Crm(Pipedrive, {"token": "${T}"}, "/activities$", lambda v: [one["note"] for one in v.activities.values()]),
}


@contextlib.asynccontextmanager
async def acting_on(name: str, rules: str = CALL) -> AsyncIterator[tuple[Acting, Any]]:
    """Yield a stage whose requests go to a vendor over HTTP."""
    crm = CRMS[name]
    async with crm.vendor() as vendor, HttpOut() as http:
        written = {"targets": {"crm": {"kind": name, "base_url": vendor.url, **crm.settings}}}
        if name == "zoho":
            written["targets"]["crm"]["accounts_url"] = vendor.url
        kinds = {name: KINDS[name]._replace(rate=Rate(10_000, 1.0))}  # budgets have tests of their own
        stage = Acting(rules, json.dumps(written).encode(), kinds)
        stage.environment = {"X": "client-secret", "T": getattr(vendor, "token", "")}
        stage.http = http
        async with VendorLogin(stage.connections.targets, stage.environment, lambda: stage.now_ms() / 1000) as login:
            stage.logins = VendorTokens(login)
            yield stage, vendor


async def ended(stage: Acting, number: int, step_ms: int = 20_000) -> None:
    """Wait until so many acts have ended, while time passes."""

    async def over() -> bool:
        if not stage.busy():
            stage.later(step_ms)
        return len([row for row in await stage.rows() if row.state not in ("intent", "retry")]) >= number

    await until(over, "the end of the acts")


def made(name: str, vendor: Vendor) -> Counter[str]:
    """Return how often a task was made for each output."""
    return Counter(found[1] for text in CRMS[name].texts(vendor) if (found := REFERENCE.search(text)))


PEOPLE = "contacts|sobjects/Lead|upsert|persons|query|owners|users"


def disturb(chance: random.Random, name: str, vendor: Vendor) -> None:
    """Let some requests go wrong, before or after they take effect."""
    for method, path in (("POST", CRMS[name].create), ("POST", PEOPLE), ("PATCH", PEOPLE), ("GET", PEOPLE)):
        for _ in range(chance.randrange(3)):
            match chance.randrange(6):
                case 0:
                    vendor.lose_answer(method, path)
                case 1:
                    vendor.script(method, path, lost=True)
                case 2:
                    vendor.script(method, path, Reply(502), effect=True)
                case 3:
                    vendor.script(method, path, Reply(503, None, {"Retry-After": "1"}))
                case 4:
                    vendor.script(method, path, Reply(429))
                case 5:
                    vendor.script(method, path, Reply(500))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CRMS)
async def test_no_task_is_made_twice(name: str, seed: int) -> None:
    """Each act ends as `done`, with one task, or as `unknown`, with one at most. Nothing breaks the vendor's rules."""
    chance = random.Random(seed)
    async with acting_on(name) as (stage, vendor):
        for _ in range(3):
            disturb(chance, name, vendor)
        async with stage.acting():
            for number in range(LEADS):
                stage.publish(lead=f"lead-{number}", traits={"email": f"lead-{number}@acme.example", "last_name": "Fox"})
                if isinstance(vendor, OAuthVendor) and chance.random() < 0.3:
                    vendor.end_tokens()
            await ended(stage, LEADS)
        tasks = made(name, vendor)
        for row in await stage.rows():
            output = row.id.rpartition("|")[2]
            assert row.state in ("done", "unknown"), row
            assert tasks[output] == 1 if row.state == "done" else tasks[output] <= 1, row
        assert [place for place in vendor.refusals if "INVALID_SESSION" not in place and "INVALID_TOKEN" not in place] == []


@pytest.mark.parametrize("name", CRMS)
async def test_an_act_that_nothing_disturbs_is_done(name: str) -> None:
    """Its remote id is the task's, and the secret is in no row."""
    async with acting_on(name) as (stage, vendor):
        async with stage.acting():
            stage.publish(lead="lead-1", traits={"email": "ada@acme.example"})
            await ended(stage, 1)
        [row] = await stage.rows()
        assert (row.state, made(name, vendor)) == ("done", {"lead-1:1": 1})
        assert row.remote_id
        assert all(secret not in repr(row) for secret in stage.environment.values() if secret)


@pytest.mark.parametrize("name", ["salesforce", "zoho"])
async def test_a_token_that_ends_in_mid_batch_is_renewed(name: str) -> None:
    """No state is lost, and one log-in serves all."""
    rules = "sync: [{to: crm, object: contact, fields: {LeadPulse_Score%s: score}}]\n" % ("__c" if name == "salesforce" else "")
    async with acting_on(name, CALL + rules) as (stage, vendor), stage.acting():
        for number in range(10):
            stage.publish(lead=f"lead-{number}", traits={"email": f"lead-{number}@acme.example"})

        def written() -> int:
            rows = vendor.of("Lead") if name == "salesforce" else vendor.rows["Leads"].values()
            return sum(80.0 in row.values() for row in rows)

        await until(lambda: vendor.tokens, "the first log-in")
        vendor.end_tokens()
        await until(lambda: written() == 10, "all states")
        await ended(stage, 10)
        assert len(vendor.tokens) == 2
        assert set(made(name, vendor).values()) == {1}


@pytest.mark.parametrize("name", CRMS)
async def test_a_log_in_that_is_refused_stops_the_target(name: str) -> None:
    """Nothing is lost: once an operator has mended it, the act is done."""
    async with acting_on(name) as (stage, vendor):
        secret = getattr(vendor, "token", "")
        if isinstance(vendor, OAuthVendor):
            vendor.script("POST", "/token$", Reply(400, {"error": "invalid_client"}), times=2)
        else:
            vendor.token = "another"
        async with stage.acting():
            stage.publish(lead="lead-1", traits={"email": "ada@acme.example"})

            async def waits() -> bool:
                rows = await stage.rows()
                return bool(rows) and rows[0].attempts > 0 and "log-in" in rows[0].detail

            await until(waits, "the refusal")
            if not isinstance(vendor, OAuthVendor):
                vendor.token = secret
            await ended(stage, 1, 120_000)
        assert (await stage.states(), made(name, vendor)) == (["done"], {"lead-1:1": 1})
