"""Redis goes back to an older copy under `leadpulse act`: no act is done a second time, and no state goes backwards."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from pathlib import Path

from tests.kit.act_targets import ACTS, SECRETS, Targets, all_targets, rules_of, traits_of
from tests.kit.acts_live import SECRETS as MORE
from tests.kit.acts_live import ActSite, Publisher
from tests.kit.online import site
from tests.kit.shell import leadpulse
from tests.kit.vendors.portal import Portal
from tests.kit.waits import until

__all__ = ["site"]

SYNC = """
sync:
  - {to: portal, object: contact, fields: {leadpulse_score: score, leadpulse_sequence: sequence}}
"""
LEADS = 3
BLIND = {"mail", "slack", "teams", "brevo", "brevo-event"}
"""Rules whose targets cannot be asked what they have. Brevo knows a mail by its key, for a time that only the ledger knew."""
_LEASE_S = 6.0


async def publish(publisher: Publisher, round_: str) -> list[str]:
    """Publish outputs that every rule acts on, and return their leads."""
    leads = [f"{round_}-{number}" for number in range(LEADS)]
    for lead in leads:
        await publisher.output(lead, 5, traits=traits_of(lead))
    return leads


async def all_over(acts: ActSite, leads: list[str]) -> None:
    """Wait until all acts of *leads* have ended, and no state waits."""

    async def over() -> bool:
        rows = [row for row in await acts.rows() if row.state not in ("intent", "retry")]
        ended = Counter(row.lead_id for row in rows)
        async with acts.ledgers() as ledgers:
            waiting = [(await ledger.figures()).get("portal", {}).get("states", 0) for ledger in ledgers]
        return not sum(waiting) and all(ended[lead] == len(ACTS) for lead in leads)

    await until(over, f"the end of all acts of {leads}")


async def act(acts: ActSite, *words: str) -> None:
    """Run a command of acts."""
    done = await asyncio.to_thread(leadpulse, "act", *words, env=acts.environ)
    assert done.returncode == 0, done.stderr


async def test_an_older_copy_of_the_ledger(site: dict[str, str], tmp_path: Path) -> None:
    """What the copy does not know is read again and looked up at the target, or is `unknown`."""
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "contract.pdf").write_bytes(b"%PDF-1.7")
    async with all_targets() as targets, Portal(token=MORE["CRM"], most=100_000) as portal:
        connections = f"{targets.connections}  portal: {{kind: hubspot, token: '${{CRM}}', base_url: '{portal.url}'}}\n"
        acts = await asyncio.to_thread(ActSite, site, tmp_path, SYNC + rules_of(ACTS), connections, lease_s=_LEASE_S, **SECRETS)
        try:
            running = [acts.start(), acts.start()]
            await asyncio.to_thread(running[0].until, acts.all_read)
            async with acts.publisher() as publisher:
                before = await publish(publisher, "before")
                await all_over(acts, before)
                await act(acts, "pause", "hubspot")
                await act(acts, "pause", "portal")
                waited = await publish(publisher, "waited")  # their tasks and states wait in the copy
                await others_over(acts, waited)
                copy = await acts.copy()
                await act(acts, "resume", "hubspot")
                await act(acts, "resume", "portal")
                for lead in waited:
                    await publisher.output(lead, 6, "lead.stage", score=6.0, traits=traits_of(lead))
                since = await publish(publisher, "since")
                await all_over(acts, [*waited, *since])
                written = portal.newest()
                await acts.restore(copy)
                await act(acts, "resume", "hubspot")  # the copy has them paused
                await act(acts, "resume", "portal")
                await all_over(acts, [*waited, *since])
                assert any("went back in time" in one.words for one in running)
                after = await publish(publisher, "after")
                await all_over(acts, after)
            assert portal.backwards == []
            assert {lead: held for lead, held in portal.newest().items() if lead not in after} == written
            as_it_must_be(await acts.listed(), targets, [*before, *waited, *after], since)
            assert all("Traceback" not in one.words for one in running)
            assert acts.all_read()
        finally:
            acts.end()


async def others_over(acts: ActSite, leads: list[str]) -> None:
    """Wait until the acts of *leads* have ended that are not paused, and their states wait."""

    async def over() -> bool:
        rows = [row for row in await acts.rows() if row.lead_id in leads]
        async with acts.ledgers() as ledgers:
            waiting = [(await ledger.figures()).get("portal", {}).get("states", 0) for ledger in ledgers]
        at_work = Counter(row.target for row in rows if row.state in ("intent", "retry"))
        return len(rows) == len(ACTS) * len(leads) and sum(waiting) == len(leads) and at_work == {"hubspot": len(leads)}

    await until(over, "what is not paused")


def as_it_must_be(listed: list[dict[str, object]], targets: Targets, sure: list[str], doubted: list[str]) -> None:
    """Look at `act list`, and at what people see at the targets."""
    states: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for line in listed:
        states[str(line["rule"])][str(line["lead_id"])] = str(line["state"])
    effects = targets.effects()
    for rule in ACTS:
        assert effects[rule] == dict.fromkeys([*sure, *doubted], 1), rule
        assert all(states[rule][lead] == "done" for lead in sure), (rule, states[rule])
        ended = {states[rule][lead] for lead in doubted}
        assert ended == ({"unknown"} if rule in BLIND else {"done"}), (rule, states[rule])
    for name, people in targets.people().items():
        assert max(people.values(), default=1) == 1, (name, people.most_common(3))
    for vendor in targets.vendors:
        assert not vendor.refusals, (vendor.name, Counter(vendor.refusals))
