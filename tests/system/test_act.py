"""`leadpulse act` on real Kafka and Redis, with a target on loopback: each output is acted on once, whatever dies."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer

from schemas.acted import read_acted
from tests.kit.acts_live import SECRETS, ActSite, LiveTarget
from tests.kit.online import site
from tests.kit.vendors.hubspot import HubSpot
from tests.kit.waits import until

__all__ = ["site"]

TELL = "acts:\n  - {id: tell, on: lead.sql, to: hook, do: send, max: 100000/h, unless: [lead.cooled]}\n"


@pytest.fixture
async def target() -> AsyncIterator[LiveTarget]:
    """Return a target that listens."""
    made = LiveTarget()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def acts(site: dict[str, str], target: LiveTarget, tmp_path: Path) -> AsyncIterator[ActSite]:
    """Return a namespace whose lead.sql goes to the target."""
    connections = f"targets:\n  hook: {{kind: webhook, url: 'http://127.0.0.1:{target.port}/hook', secret: '${{HOOK}}'}}\n"
    made = await asyncio.to_thread(ActSite, site, tmp_path, TELL, connections)
    yield made
    made.end()


async def test_lead_sql_becomes_a_request_and_lead_acted(acts: ActSite, target: LiveTarget) -> None:
    """From a record in Kafka to the request, the ledger and lead.acted; SIGTERM ends it with 0."""
    running = acts.start()
    await asyncio.to_thread(running.until, lambda: acts.ready(running))
    async with acts.publisher() as publisher:
        id_ = await publisher.output("ada")
    await until(lambda: target.ids[id_], "the request")

    async def done() -> bool:
        return (await acts.states())["done"] == 1

    await until(done, "done in the ledger")
    consumer = AIOKafkaConsumer(
        f"{acts.namespace}.acted", bootstrap_servers=acts.environ["LEADPULSE_KAFKA"], auto_offset_reset="earliest"
    )
    await consumer.start()
    record = await consumer.getone()
    await consumer.stop()
    acted = read_acted(record.value)
    assert (acted.data.output, acted.data.outcome, acted.data.remote_id) == (id_, "done", id_)
    assert 'leadpulse_act_attempts_total{outcome="done",target="hook"} 1.0' in acts.page(running)
    assert await asyncio.to_thread(running.end) == 0, running.words
    assert "Traceback" not in running.words
    for secret in ("whsec", "c2VjcmV0"):
        assert secret not in running.words


async def test_killed_again_and_again_each_output_is_acted_on(acts: ActSite, target: LiveTarget) -> None:
    """Two processes, one of which is killed every second: every output comes, under one id, and ends as done."""
    rng = random.Random(7)
    one, two = acts.start(), acts.start()
    await asyncio.to_thread(one.until, acts.all_read)
    living = [one, two]
    wanted: list[str] = []
    async with acts.publisher() as publisher:
        for round_ in range(6):
            wanted += [await publisher.output(f"lead-{round_}-{number}") for number in range(20)]
            await asyncio.sleep(rng.random())
            victim = living.pop(rng.randrange(2))
            victim.process.kill()
            living.append(acts.start())

    async def all_done() -> bool:
        return (await acts.states())["done"] == len(wanted)

    await until(all_done, "all done")
    assert set(target.ids) == set(wanted)
    assert await acts.states() == {"done": len(wanted)}


async def test_a_target_that_was_down_gets_all_of_it(acts: ActSite, target: LiveTarget) -> None:
    """Nothing is lost, and nothing is done twice."""
    running = acts.start()
    await asyncio.to_thread(running.until, lambda: acts.ready(running))
    await target.stop()
    async with acts.publisher() as publisher:
        wanted = [await publisher.output(f"lead-{number}") for number in range(10)]
    await asyncio.sleep(1)
    await target.start()

    async def all_done() -> bool:
        return (await acts.states())["done"] == len(wanted)

    await until(all_done, "all done")
    assert target.ids == dict.fromkeys(wanted, 1)


async def test_topics_with_other_partitions_are_refused(acts: ActSite) -> None:
    """Order would be lost. The last line names the topic."""
    running = acts.start(LEADPULSE_PARTITIONS="3")
    assert await asyncio.to_thread(running.process.wait, 60) == 1
    assert f"{acts.namespace}.out has 2" in running.words.splitlines()[-1]


async def test_a_dry_run_prints_and_sends_nothing(acts: ActSite, target: LiveTarget) -> None:
    """And leaves the outputs to the program."""
    running = acts.start(LEADPULSE_ACT_DRY="true")
    await asyncio.to_thread(running.until, lambda: "pages on" in running.words)
    async with acts.publisher() as publisher:
        deadline = time.monotonic() + 60
        number = 0
        while '"method"' not in running.words and time.monotonic() < deadline:
            number += 1
            await publisher.output("ada", number)
            await asyncio.sleep(0.5)
    line = json.loads(next(line for line in running.words.splitlines() if '"method"' in line))
    assert (line["rule"], line["target"], line["headers"]["webhook-signature"]) == ("tell", "hook", "<signature>")
    assert not target.ids
    assert await acts.rows() == []
    assert await asyncio.to_thread(running.end) == 0


async def test_the_time_from_output_to_request(acts: ActSite, target: LiveTarget) -> None:
    """100 outputs a second for ten seconds: the 99th percentile is printed, and held loosely here."""
    running = acts.start()
    await asyncio.to_thread(running.until, lambda: acts.ready(running))
    sent: dict[str, float] = {}
    async with acts.publisher() as publisher:
        began = time.monotonic()
        for number in range(500):
            await asyncio.sleep(max(0.0, began + number / 100 - time.monotonic()))
            sent[await publisher.output(f"lead-{number}")] = time.time()
    await until(lambda: len(target.ids) == len(sent), "all requests")
    took = sorted(target.came[id_] - at for id_, at in sent.items())
    print(f"p50 {took[len(took) // 2]:.3f} s, p99 {took[int(len(took) * 0.99)]:.3f} s, max {took[-1]:.3f} s")  # noqa: T201
    assert took[int(len(took) * 0.99)] < 10


CALL = """
sync:
  - {to: crm, object: contact, fields: {leadpulse_score: score}}
acts:
  - {id: call, on: lead.sql, to: crm, do: task, max: 100000/h, with: {subject: "Call {{ lead_id }}"}}
"""
KILLS = int(os.environ.get("ACT_KILLS", "10"))


async def test_tasks_of_a_crm_are_made_once_whatever_is_killed(site: dict[str, str], tmp_path: Path) -> None:
    """Two processes, one killed or stopped at random again and again: each lead has one task, or its act is `unknown`.

    Nothing shows the secret: neither logs, nor the ledger, nor metrics, nor lead.acted.
    """
    rng = random.Random(11)
    async with HubSpot(token=SECRETS["CRM"]) as crm:
        lag = _slowed(crm, rng)
        connections = f"targets:\n  crm: {{kind: hubspot, token: '${{CRM}}', base_url: '{crm.url}'}}\n"
        acts = await asyncio.to_thread(ActSite, site, tmp_path, CALL, connections)
        try:
            living = [acts.start(), acts.start()]
            await asyncio.to_thread(living[0].until, acts.all_read)
            wanted: list[str] = []
            async with acts.publisher() as publisher:
                for round_ in range(KILLS):
                    for number in range(6):
                        lead = f"lead-{round_}-{number}"
                        await publisher.output(lead, traits={"email": f"{lead}@example.com", "last_name": lead})
                        wanted.append(lead)
                    asked = len(crm.requests)
                    await until(lambda asked=asked: len(crm.requests) > asked, "a request")  # type: ignore[misc]
                    await asyncio.sleep(rng.random() / 3)
                    victim = living.pop(rng.randrange(2))
                    if rng.random() < 0.2:  # frozen for a while, it wakes as a zombie
                        victim.process.send_signal(signal.SIGSTOP)
                        asyncio.get_running_loop().call_later(10, victim.process.send_signal, signal.SIGCONT)
                    else:
                        victim.process.kill()
                    living.append(acts.start())
                    if rng.random() < 0.5:
                        await asyncio.to_thread(living[-1].until, lambda: acts.ready(living[-1]))
            lag.clear()

            async def over() -> bool:
                states = await acts.states()
                return states["done"] + states["unknown"] == len(wanted)

            await until(over, "the end of every act")
            tasks = Counter(held["hs_task_subject"].removeprefix("Call ") for held in crm.tasks.values())
            states = {row.lead_id: row.state for row in await acts.rows()}
            print(Counter(states.values()), "tasks:", Counter(tasks.values()))  # noqa: T201
            assert max(tasks.values()) == 1
            assert all(tasks[lead] == 1 for lead, state in states.items() if state == "done")
            assert set(states) == set(wanted)
            shown = "".join(running.words for running, _ in acts.running) + acts.page(living[-1])
            shown += "".join(f"{row.packed!r}{row.detail}{row.known}" for row in await acts.rows())
            assert SECRETS["CRM"] not in shown
            faults = [line for running, _ in acts.running for line in running.words.splitlines() if "Traceback" in line]
            assert not faults, faults[0]
        finally:
            acts.end()


def _slowed(crm: HubSpot, rng: random.Random) -> list[float]:
    """Let answers take a while before and after their effect, until the list is emptied."""
    lag = [0.1]
    reply = crm._serve

    async def slow(raw: web.Request) -> web.StreamResponse:
        await asyncio.sleep(rng.random() * sum(lag))
        answer = await reply(raw)
        await asyncio.sleep(rng.random() * sum(lag))
        return answer

    crm._serve = slow  # type: ignore[method-assign]
    return lag
