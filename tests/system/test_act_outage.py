"""A CRM that is down for an hour: afterwards it gets the newest states and the acts that are still wanted, and nothing else.

The hour is one of the records' times, against which the age of acts is counted here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.kit.acts_live import SECRETS, ActSite, LiveTarget, Publisher
from tests.kit.online import site
from tests.kit.shell import Running
from tests.kit.vendors.portal import Portal
from tests.kit.waits import until

__all__ = ["site"]

RULES = """
sync:
  - {to: crm, object: contact, fields: {leadpulse_score: score, leadpulse_sequence: sequence}}
acts:
  - id: call
    on: lead.sql
    to: crm
    do: task
    fresh: 30m
    max: 1000/h
    unless: [lead.cooled]
    with: {subject: "Call {{ lead_id }}"}
  - {id: tell, on: lead.sql, to: hook, do: send, max: 1000/h}
"""
EARLY, LATE = range(26), range(36, 61)
"""Minutes of the outage in which leads get ripe. Half an hour later the early ones are stale."""
COOLED = {minute for minute in (*EARLY, *LATE) if minute % 10 == 5}
"""Those who cool two minutes later."""
_BEGAN_S = -65 * 60.0
"""When the outage begins, from now. Kafka takes no records of the future."""


def later_s(minute: float) -> float:
    """Return when a minute of the outage is, in seconds from now."""
    return _BEGAN_S + 60 * minute


def lead_of(minute: int) -> str:
    """Return the lead that gets ripe in a minute."""
    return f"minute-{minute}"


async def ripe(publisher: Publisher, lead: str, minute: float) -> str:
    """Publish a lead that gets ripe, after two other outputs of it."""
    traits = {"email": f"{lead}@example.com"}
    for seq in (1, 2):
        await publisher.output(lead, seq, "lead.stage", later_s(minute), score=float(seq), traits=traits)
    return await publisher.output(lead, 3, later_s=later_s(minute), score=3.0, traits=traits)


def late_s(hook: LiveTarget, sent: Mapping[str, float]) -> list[float]:
    """Return how long after its output each request came, sorted."""
    return sorted(hook.came[id_] - at for id_, at in sent.items())


def counted(acts: ActSite, running: list[Running], name: str, **labels: str) -> float:
    """Return a metric's sum over the processes."""
    held = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    pattern = re.compile(rf"^{name}{{{re.escape(held)}}} (\S+)$", re.MULTILINE)
    return sum(float(value) for one in running for value in pattern.findall(acts.page(one)))


async def test_a_crm_that_was_down_for_an_hour(site: dict[str, str], tmp_path: Path) -> None:
    """Two processes share the partitions. The other target gets its acts meanwhile."""
    hook = LiveTarget()
    await hook.start()
    async with Portal(token=SECRETS["CRM"]) as crm:
        connections = (
            f"targets:\n  crm: {{kind: hubspot, token: '${{CRM}}', base_url: '{crm.url}'}}\n"
            f"  hook: {{kind: webhook, url: 'http://127.0.0.1:{hook.port}/hook', secret: '${{HOOK}}'}}\n"
        )
        acts = await asyncio.to_thread(ActSite, site, tmp_path, RULES, connections)
        try:
            running = [acts.start(LEADPULSE_CLOCK="events"), acts.start(LEADPULSE_CLOCK="events")]
            await asyncio.to_thread(running[0].until, acts.all_read)
            async with acts.publisher() as publisher:
                await it_works(acts, crm, hook, publisher)
                await crm.go_down()
                crm.writes.clear()
                sent = {}
                for minute in sorted({*EARLY, *LATE, *(m + 2 for m in COOLED)}):
                    if minute in EARLY or minute in LATE:
                        id_ = await ripe(publisher, lead_of(minute), minute)
                        sent[id_] = time.time()
                    if minute - 2 in COOLED:
                        await publisher.output(
                            lead_of(minute - 2), 4, "lead.cooled", later_s(minute), score=4.0,
                            traits={"email": f"{lead_of(minute - 2)}@example.com"},
                        )  # fmt: skip
                for number in range(6):  # so that both partitions know of the hour's end
                    await publisher.output(f"later-{number}", 1, "account.hot", later_s(61))
            await until(lambda: sent.keys() <= hook.came.keys(), "the other target's requests")
            late = late_s(hook, sent)
            print(f"beside a CRM that is down: {late[len(late) // 2]:.2f} s at the median, {late[-1]:.2f} s at most")  # noqa: T201
            assert late[-1] < 10

            async def decided() -> bool:
                states = Counter(row.state for row in await acts.rows() if row.target == "crm")
                return states["stale"] + states["cancelled"] == len({*EARLY} | COOLED)

            await until(decided, "stale and cancelled acts")
            assert acts.all_read()
            await crm.come_back()

            async def over() -> bool:
                async with acts.ledgers() as ledgers:
                    waiting = [(await ledger.figures()).get("crm", {}).get("states", 0) for ledger in ledgers]
                states = await acts.states()
                return not sum(waiting) and not states["intent"] + states["retry"]

            await until(over, "nothing waits")
            await as_it_must_be(acts, crm, running)
        finally:
            acts.end()
            await hook.stop()


async def it_works(acts: ActSite, crm: Portal, hook: LiveTarget, publisher: Publisher) -> None:
    """See that both targets get what is theirs before anything goes wrong."""
    sent = {}
    for number in range(20):
        id_ = await ripe(publisher, f"before-{number}", 0)
        sent[id_] = time.time()
    await until(lambda: len(crm.tasks) == len(crm.newest()) == len(hook.came) == len(sent), "all before the outage")
    late = late_s(hook, sent)
    print(f"before: {late[len(late) // 2]:.2f} s at the median, {late[-1]:.2f} s at most")  # noqa: T201

    async def done() -> bool:
        return await acts.states() == {"done": 2 * len(sent)}

    await until(done, "all done")


async def as_it_must_be(acts: ActSite, crm: Portal, running: list[Running]) -> None:
    """Look at the CRM, at `act list`, at lead.acted and at the metrics."""
    wanted = {lead_of(minute): "stale" for minute in EARLY} | {lead_of(minute): "done" for minute in LATE}
    wanted |= {lead_of(minute): "cancelled" for minute in COOLED}
    listed = [one for one in await acts.listed() if one["lead_id"] in wanted]
    assert {one["lead_id"]: one["state"] for one in listed if one["rule"] == "call"} == wanted
    assert {one["state"] for one in listed if one["rule"] == "tell"} == {"done"}
    assert all("s old" in one["detail"] for one in listed if one["state"] == "stale")
    made = Counter(held["hs_task_subject"].removeprefix("Call ") for held in crm.tasks.values())
    assert {lead: count for lead, count in made.items() if lead in wanted} == {
        lead: 1 for lead, state in wanted.items() if state == "done"
    }
    newest = {lead_of(minute): (4, "4") if minute in COOLED else (3, "3") for minute in (*EARLY, *LATE)}
    assert {lead: held for lead, held in crm.newest().items() if lead in wanted} == newest
    assert crm.writes == dict.fromkeys(wanted, 1)
    assert crm.backwards == []

    async def told() -> bool:
        acted = {one["lead_id"]: one["outcome"] for one in await acts.acted() if one["rule"] == "call"}
        return {lead: outcome for lead, outcome in acted.items() if lead in wanted} == wanted

    await until(told, "lead.acted of each")
    stale = sum(state == "stale" for state in wanted.values())
    assert counted(acts, running, "leadpulse_act_attempts_total", outcome="stale", target="crm") == stale
    await until(
        lambda: counted(acts, running, "leadpulse_act_acts", target="crm", state="stale") == stale, "the gauge of stale acts"
    )
    assert all("Traceback" not in one.words for one in running)
