"""Grafana's dashboards: written from their code, and every query asked of a Prometheus that scrapes a worker at work."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from ops.grafana.__main__ import written
from ops.grafana.queries import FOLDER, Asked, Series, Window, asked, panels
from tests.kit.acts_live import ActSite
from tests.kit.collectors import Park, Sender, id_of, park_of
from tests.kit.online import ready
from tests.kit.services import Kafka, Prometheus, Redis, adjacent_ports, free_port, needed
from tests.kit.shell import Running, leadpulse
from tests.kit.site import Site
from tests.kit.vendors.hubspot import HubSpot
from worker.intake.routes import TOPICS

BOARDS = ("pipeline.json", "funnel.json")

GRID = """\
grid: dashboards-test
version: 1
timezone: UTC
pages: {pricing: ["/pricing*"]}
fit:
  rules:
    - {id: business-email, points: 5, where: {email_kind: business}}
    - {id: free-email, points: 2, where: {email_kind: free}}
engagement:
  half_life: 3s
  rules:
    - {id: page, points: 6, on: page.viewed, intent: true, cap: 60}
    - {id: click, points: 5, on: [email.opened, email.clicked], cap: 10}
exclusions:
  - {id: unsubscribed, on: [email.unsubscribed]}
stages:
  mql: {enter: 9, leave: 6}
  sql: {enter: 15, leave: 9, intent_within: 30d, sla: 1s}
retention: 365d
"""

ACTS = """\
sync: [{to: crm, object: contact, fields: {leadpulse_score: score}}]
acts: [{id: call, on: [lead.mql, lead.sql], to: crm, do: task, max: 9999/h, with: {subject: "Call {{ lead_id }}"}}]
"""

MAY_BE_0 = {
    "Failures and losses": "the storage takes all files",
    "Erased ids that files may still have": "no person is erased",
    "Oldest act or state that waits": "it keeps up",
    "Outputs that wait, and open breakers": "it keeps up, and the target answers",
    "Partitions without an owner": "there is a worker",
    "Oldest that waits": "it keeps up",
    "Records waiting": "it keeps up",
    "Grid file refused": "there is no mistake in it",
    "Webhooks that wait": "the mapper keeps up",
    "Outbox, by partition": "it is empty most of the time",
    "Oldest that waits, by partition": "it keeps up",
    "Removed": "retention is at least 90 days",
    "Claimed twice": "nobody errs",
    "Addresses of two leads": "its grid does not ask for them",
    "Accounts that became hot": "its grid has none",
}
"""Panels that rightly show nothing but zeros here, and why. Every other shows something."""


@pytest.mark.parametrize("name", BOARDS)
def test_the_committed_dashboards_are_what_their_code_writes(name: str) -> None:
    """Whoever changes one in Grafana and exports it would lose the change at the next writing."""
    assert (FOLDER / name).read_text() == written()[name], "python -m ops.grafana"
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(written())


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_a_query_a_unit_and_an_explanation(name: str) -> None:
    """Whoever is woken at night reads what a panel shows beside it."""
    titles = [panel["title"] for panel in panels(name)]
    assert len(set(titles)) == len(titles)
    for panel in panels(name):
        assert panel["description"], panel["title"]
        assert panel["targets"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_panels_fill_their_rows_and_cover_no_other(name: str) -> None:
    """Grafana moves panels that overlap, and nobody sees why."""
    cells: Counter[tuple[int, int]] = Counter()
    for panel in json.loads((FOLDER / name).read_text())["panels"]:
        at = panel["gridPos"]
        cells.update((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))
    height = max(y for _, y in cells) + 1
    assert cells == Counter((x, y) for x in range(24) for y in range(height))


def test_every_metric_of_the_dashboards_is_asked_for_by_job() -> None:
    """Two namespaces in one Prometheus must not be added up unless somebody asks for it."""
    for name in BOARDS:
        for panel in panels(name):
            for query in asked(panel):
                assert len(re.findall(r"leadpulse_\w+", query.expr)) == query.expr.count('{job=~"$job"'), query.expr


@pytest.fixture
async def shown(kafka: Kafka, redis_server: Redis, namespace: str, tmp_path: Path) -> AsyncIterator[Window]:
    """Return what a Prometheus holds after a worker had half a minute of everything that may come."""
    topics = {family: f"{namespace}.{family}" for family in TOPICS}
    port, collector, acting, archiving = adjacent_ports(), adjacent_ports(), free_port(), free_port()
    settings = {"input_topics": ",".join(topics.values()), "clock": "wall", "metrics_port": port}
    site = Site(kafka.address, redis_server.url, namespace, tmp_path, tick_interval=1, session_timeout=6, **settings)
    site.put_grid(GRID)
    await site.prepare()
    with (
        needed(lambda: Prometheus([f"127.0.0.1:{at}" for at in (port, collector, acting, archiving)])) as prometheus,
        Running(["-m", "worker.cli", "run"], site.environ, tmp_path) as worker,
        Running(["-m", "worker.cli", "archive", "run"], site.environ | _archive(tmp_path, archiving), tmp_path),
    ):
        await asyncio.to_thread(worker.until, lambda: ready(site.environ))
        async with HubSpot() as crm, _acts(site, crm, acting), park_of(kafka.address, redis_server.url, tmp_path) as park:
            began = time.time()
            collecting = asyncio.create_task(_webhooks(park, collector))
            await _traffic(site, topics)
            await collecting
        await _usurp(site)
        await site.settled()
        await asyncio.sleep(4)  # a few more looks of Prometheus, which looks every second
        assert worker.process.poll() is None, worker.words
        yield Window(prometheus.url, began, time.time(), step_s=1, rate_interval_s=15, job="leadpulse")


def _archive(folder: Path, port: int) -> dict[str, str]:
    """Return the settings of a program that archives, a file every other second."""
    own = {"TO": str(folder / "archive"), "EVERY": "2"}
    return {f"LEADPULSE_ARCHIVE_{name}": value for name, value in own.items()} | {"LEADPULSE_METRICS_PORT": str(port)}


@asynccontextmanager
async def _acts(site: Site, crm: HubSpot, port: int) -> AsyncIterator[None]:
    """Let the program act on the worker's outputs: tasks and states at a CRM."""
    folder = site.folder / "acts"
    folder.mkdir()
    target = f"targets:\n  crm: {{kind: hubspot, token: '${{CRM}}', base_url: '{crm.url}'}}\n"
    acts = await asyncio.to_thread(ActSite, site.environ, folder, ACTS, target)
    try:
        running = acts.start(CRM=crm.token, LEADPULSE_METRICS_PORT=str(port))
        await asyncio.to_thread(running.until, lambda: "acting" in running.words)
        yield
    finally:
        acts.end()


async def _webhooks(park: Park, metrics_port: int) -> None:
    """Let a collector take, refuse and map some of everything that may come."""
    collector = park.collector("all", LEADPULSE_METRICS_PORT=str(metrics_port))
    await collector.ready()
    sender = Sender(park, collector.port)
    address = f"http://127.0.0.1:{collector.port}"
    async with aiohttp.ClientSession() as session:
        for number in range(20):
            await sender.send(session, [number % 15])
            event = _event("page.viewed", f"c{number}", 0, {"url": "/"})
            headers = {"Authorization": "Bearer t0ken", "Content-Type": "application/cloudevents+json"}
            await (await session.post(f"{address}/v1/events", json=event, headers=headers)).read()
            for refused in (b"[]", bytes(1_000_001)):
                await (await session.post(f"{address}/in/mailer", data=refused)).read()
            await sender.send_raw(session, b"[7]", [])
            await asyncio.sleep(0.4)
    await park.mapped(id_of(number) for number in range(15))


async def _traffic(site: Site, topics: dict[str, str]) -> None:
    """Send what a site's visitors do, as of now, and meanwhile what is rare."""
    given = {
        "kafka": site.settings.kafka,
        "topics": ",".join(f"{family}={topic}" for family, topic in topics.items()),
        "client": "librdkafka",  # finds other partitions than ours: strays
        "leads": 80,
        "start": "now",
        "events": 3_600,
        "rate": 300,
        "bad": 0.02,
        "duplicates": 0.02,
    }
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    crowd = asyncio.create_task(asyncio.to_thread(leadpulse, "simulate", *words))
    for rare in RARE:
        await site.send([site.sent(_event(*rare), topic=topics["web"])])
        await asyncio.sleep(1.2)
    done = await crowd
    assert done.returncode == 0, done.stderr


def _event(kind: str, lead: str, ago_s: float, data: dict[str, Any]) -> dict[str, Any]:
    at = (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat()
    named = {"specversion": "1.0", "id": uuid.uuid4().hex, "source": "/test", "type": kind, "subject": lead}
    return {**named, "time": at, "data": data}


RARE: list[tuple[str, str, float, dict[str, Any]]] = [
    ("coffee.drunk", "ann", 0, {}),
    ("page.viewed", "visitor-1", 0, {"url": "/pricing"}),
    ("lead.identified", "ann", 0, {"anonymous_id": "visitor-1"}),
    ("page.viewed", "visitor-1", 0, {"url": "/pricing"}),
    ("page.viewed", "ann", 0, {"url": "/pricing"}),
    ("page.viewed", "ann", 0, {"url": "/pricing"}),
    ("crm.opportunity", "ann", 0, {}),
    ("crm.won", "ann", 0, {}),
    ("lead.erased", "bob", 0, {}),
    ("page.viewed", "bob", 60, {"url": "/pricing"}),
]
"""Type, lead, how many seconds ago, data: what made-up traffic of some seconds need not bring."""


async def _usurp(site: Site) -> None:
    """Take the right to publish for partition 0 away from its owner, as a second owner would: an incarnation ends."""
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=site.settings.transactional_id(0))
    await producer.start()
    await producer.stop()


async def test_every_panel_shows_what_a_real_worker_does(shown: Window) -> None:
    """No query is refused, none is empty, every series has a name of its own that says which it is."""
    wrong: list[str] = []
    for name in BOARDS:
        for panel in panels(name):
            wrong += [f"{name}: {panel['title']}: {fault}" for fault in _faults(panel, shown)]
    assert not wrong, "\n".join(wrong)


def _faults(panel: dict[str, Any], shown: Window) -> Iterator[str]:
    """Yield what is wrong with *panel*."""
    names: Counter[str] = Counter()
    moved = False
    for query in asked(panel):
        answer = shown.ask(query)
        yield from _legend_faults(query, answer)
        names.update(series.name for series in answer)
        values = [value for series in answer for _, value in series.points]
        if not values or all(math.isnan(value) for value in values):
            yield f"nothing at all: {shown.filled(query.expr)}"
        moved = moved or any(value and not math.isnan(value) for value in values)
    yield from (f"{count} series are called {name!r}" for name, count in names.items() if count > 1)
    if not moved and panel["title"] not in MAY_BE_0:
        yield "nothing but zeros"


def _legend_faults(query: Asked, answer: list[Series]) -> Iterator[str]:
    labels = set(re.findall(r"{{(\w+)}}", query.legend))
    for series in answer:
        if set(series.labels) != labels:
            yield f"the legend {query.legend!r} names {sorted(labels)}, the series have {sorted(series.labels)}"
            return
