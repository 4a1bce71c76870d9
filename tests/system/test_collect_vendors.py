"""Every vendor's webhook on its whole way: signed, over HTTP, through real Kafka, into the score of a real worker."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.kit.collectors import EVENTS, PARTITIONS, Park, park_of
from tests.kit.grids import a_grid
from tests.kit.services import Kafka, Redis, needed
from tests.kit.signing import PUBLIC_URL, Request
from tests.kit.site import Site
from tests.kit.vendor_cases import Case, Signers, cases, secret_of
from tests.kit.vendor_hosts import Apis, amazon
from worker.connections.sources import VENDORS
from worker.core.contract.event_types import KNOWN_TYPES
from worker.core.contract.partitioner import owner

UNSCORED = ("profile.updated", "lead.identified", "lead.erased")
SCORED = [*sorted(KNOWN_TYPES - set(UNSCORED)), "custom.deal_paid"]


class Seen(NamedTuple):
    """What became of the webhooks of all vendors."""

    statuses: Mapping[str, list[int]]
    """Vendor → what its senders were answered: one wrong signature a body, then each body twice."""
    events: Mapping[str, list[dict[str, Any]]]
    """Vendor → its events in the input topics."""
    scores: Mapping[str, float]
    """Lead → score."""


def connections(apis: Apis, found: Mapping[str, Case]) -> str:
    """Return a file with a source of each vendor, named after it."""
    lines = [
        f'  {vendor}: {{vendor: {vendor}, secrets: ["${{{vendor.upper()}}}"]{case.settings}}}' for vendor, case in found.items()
    ]
    return f"public_url: {PUBLIC_URL}\nsources:\n" + "\n".join(lines) + "\n" + apis.targets


async def sent(session: aiohttp.ClientSession, port: int, vendor: str, request: Request) -> int:
    """Send *request* to the source of *vendor*, and return the status."""
    address = f"http://127.0.0.1:{port}/in/{vendor}" + (f"?{request.query}" if request.query else "")
    async with session.post(address, data=request.body, headers=request.headers) as answer:
        return answer.status


async def answered(port: int, signers: Signers, found: Mapping[str, Case]) -> dict[str, list[int]]:
    """Send every body with a byte changed, then twice as it should be; return the statuses by vendor."""
    statuses: dict[str, list[int]] = defaultdict(list)
    async with aiohttp.ClientSession() as session:
        for vendor, case in found.items():
            for sign in (signers.sign_wrong, signers.sign, signers.sign):
                for body in case.bodies:
                    request = sign(vendor, time.time_ns() // 1_000_000, body)
                    statuses[vendor].append(await sent(session, port, vendor, request))
    return statuses


async def play(kafka: Kafka, redis: Redis, folder: Path) -> Seen:
    """Send the webhooks of all vendors, and wait until the worker has their events."""
    apis, signers, found = Apis(), Signers(), cases(time.time_ns() // 1_000_000)
    given = {"input_topics": ",".join(EVENTS), "partitions": PARTITIONS}
    site = Site(kafka.address, redis.url, "vendors", folder, **given)
    site.put_grid(a_grid(engagement=f"{{half_life: none, rules: [{{id: any, points: 1, on: {json.dumps(SCORED)}}}]}}"))
    async with apis.serving(), amazon(signers.amazon, folder) as to_amazon, park_of(kafka.address, redis.url, folder) as park:
        park.configure(connections(apis, found))
        park.environ |= {vendor.upper(): secret_of(vendor) for vendor in found} | {"API": "a", **to_amazon}
        park.environ["SENDGRID"] = signers.sendgrid.public
        await site.prepare()
        try:
            collector = park.collector()
            site.worker()
            await collector.ready()
            statuses = await answered(collector.port, signers, found)
            await park.drained()
            await site.settled()
            return Seen(statuses, await events_of(park), await scores_of(site, leads(found)))
        finally:
            site.close()


def leads(found: Mapping[str, Case]) -> list[str]:
    """Return everybody of whom the webhooks tell."""
    return [lead for case in found.values() for lead in case.becomes]


async def events_of(park: Park) -> dict[str, list[dict[str, Any]]]:
    """Return the events in the input topics by the vendor that they are of."""
    held: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in await park.read(EVENTS):
        event = json.loads(record.value)
        assert record.key.decode() == event["subject"]
        held[event["source"].removeprefix("/in/")].append(event)
    return held


async def scores_of(site: Site, found: Iterable[str]) -> dict[str, float]:
    """Return the score that Redis holds of each lead; -1 for nobody."""
    async with site.redis() as redis:
        held = {lead: await redis.hget(site.key(owner(lead, PARTITIONS), f"lead:{lead}"), "score") for lead in found}
    return {lead: -1.0 if score is None else float(score) for lead, score in held.items()}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Return what became of one run with all vendors, on servers of its own: the collector's topics have fixed names."""
    with needed(lambda: Kafka({"group.min.session.timeout.ms": "1000"})) as kafka, needed(Redis) as redis:
        return asyncio.run(play(kafka, redis, tmp_path_factory.mktemp("vendors")))


def test_every_vendor_has_a_case() -> None:
    """A new vendor needs one."""
    assert set(cases(0)) == set(VENDORS)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_signed_webhook_counts_once(vendor: str, seen: Seen) -> None:
    """With one byte changed it is refused. Sent twice, its events stand in the topics and in the score once."""
    case = cases(0)[vendor]
    times = len(case.bodies)
    assert seen.statuses[vendor] == [401] * times + [200] * 2 * times
    found = seen.events[vendor]
    assert Counter((event["subject"], event["type"]) for event in found) == Counter(
        (lead, type_) for lead, types in case.becomes.items() for type_ in types
    )
    assert len({event["id"] for event in found}) == len(found)
    scored = {lead: sum(type_ not in UNSCORED for type_ in types) for lead, types in case.becomes.items()}
    assert {lead: seen.scores[lead] for lead in case.becomes} == pytest.approx(scored)
