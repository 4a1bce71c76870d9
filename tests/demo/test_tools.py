"""The demo's tools: their webhooks are verified, and become the events that they were made of."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from tests.kit.collected import Served, served
from worker.collector.mapping import made_of
from worker.core.contract.model import Record
from worker.demo.signing import Secrets, connections_of
from worker.demo.simulate import Scenario, events
from worker.demo.tools import PROPERTIES, Call, Tools, calls_of
from worker.demo.traffic import as_contact
from worker.intake.inbound import Inbound
from worker.intake.vendors.registry import mapped as map_of

ORIGIN = "http://127.0.0.1:8000"
TEXT, CONNECTIONS = connections_of(ORIGIN)


@pytest.fixture(scope="module")
def two_months() -> list[dict[str, Any]]:
    """Return what 300 people do in sixty days."""
    return [as_contact(json.loads(record.value)) for record in events(Scenario(seed=1, leads=300, days=60))]


@pytest.fixture(scope="module")
def by_tool(two_months: list[dict[str, Any]]) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    """Return the events that tools tell of, each with what its webhook holds, by tool."""
    tools, found = Tools(), dict[str, list[tuple[dict[str, Any], Any]]]()
    for event in two_months:
        tools.learn(event)
        if (held := tools.element_of(event)) is not None:
            found.setdefault(held[0], []).append((event, held[1]))
    return found


async def post(collector: Served, secrets: Secrets, call: Call) -> int:
    """Send *call* signed by *secrets*; return the status."""
    path, headers = secrets.signed(call)
    async with collector.client.post(path, data=call.body, headers=headers) as answer:
        return answer.status


def mapped(collector: Served) -> list[dict[str, Any]]:
    """Return the events that the webhooks in Kafka become."""
    made = [
        made_of(Record("lead.inbound", 0, 0, 0, one.key, one.value, ()), CONNECTIONS.sources, "dead")
        for one in collector.log.records
    ]
    assert [one.dead for one in made if one.dead is not None] == []
    return [json.loads(event.output.value or b"") for one in made for event in one.events]


async def test_webhooks_are_verified_and_become_the_events_they_were_made_of(
    by_tool: dict[str, list[tuple[dict[str, Any], Any]]],
) -> None:
    """All of two months: type and time of each, by the vendor's own map, and nobody's by another tool's."""
    secrets = Secrets()
    assert set(by_tool) == {"mailer", "webinars", "crm", "forms"}
    async with served(TEXT.decode(), secrets.environment, now_ms=None) as collector:
        for tool, held in by_tool.items():
            collector.log.records.clear()
            for call in calls_of(tool, [element for _, element in held]):
                assert await post(collector, secrets, call) == 200
            found = mapped(collector)
            # A form and a registration say who it was, beside what happened.
            expected = Counter((event["type"], event["time"]) for event, _ in held if event["type"] != "profile.updated")
            assert expected - Counter((one["type"], one["time"]) for one in found) == Counter()
            assert {one["type"] for one in found} <= {event["type"] for event, _ in held} | {"profile.updated"}


async def test_a_webhook_with_another_secret_is_refused(by_tool: dict[str, list[tuple[dict[str, Any], Any]]]) -> None:
    """Each tool has its own."""
    secrets, others = Secrets(), Secrets()
    async with served(TEXT.decode(), secrets.environment, now_ms=None) as collector:
        for tool, held in by_tool.items():
            (call, *_) = calls_of(tool, [held[0][1]])
            assert await post(collector, others, call) == 401, tool


def test_machines_stay_machines(by_tool: dict[str, list[tuple[dict[str, Any], Any]]]) -> None:
    """Opens of privacy proxies by the vendor's flag, clicks of scanners by their user agent."""
    count = Counter[str]()
    for event, element in by_tool["mailer"]:
        (call,) = calls_of("mailer", [element])
        (made,) = map_of(Inbound("mailer", "sendgrid", 0, call.body), CONNECTIONS.sources["mailer"]).events
        assert made.data.get("machine") == event["data"].get("machine"), event
        count[f"{event['type']} {made.data.get('machine')}"] += 1
    assert count["email.opened True"] > 10
    assert count["email.clicked True"] > 10
    assert count["email.clicked None"] > 10


def test_the_crm_has_a_property_for_each_trait() -> None:
    """A trait that nobody sends would be missing in the demo without a word."""
    tools = Tools()
    for event in islice((as_contact(json.loads(r.value)) for r in events(Scenario(seed=3, leads=100, days=9))), 3_000):
        if event["type"] == "profile.updated" and event["source"] == "/crm":
            tool, changes = tools.element_of(event) or ("", [])
            assert tool == "crm"
            assert {change["propertyName"] for change in changes} <= set(PROPERTIES.values())
