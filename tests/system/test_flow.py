"""The whole flow of one person: from a page view to a client, through all programs, on real Kafka, Redis and SMTP.

The programs run as processes with the files of `ops/automations` and the grid `article-75`. The test plays the person, sales
and the vendors. It prints the seconds between the steps, which docs/automations.md and docs/benchmarks.md name.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.act_targets import found_in
from tests.kit.flow import SECRETS, Company, Visitor, company
from tests.kit.services import Kafka, Redis, needed
from tests.kit.waits import until

ADDRESS = "ada@acme.example"
TRAITS = {
    "email": ADDRESS, "first_name": "Ada", "last_name": "Lovelace", "role": "Head of Sales", "country": "FR",
    "company": {"name": "Acme", "size": 80}, "marketing_consent": True,
}  # fmt: skip


@pytest.fixture
def own_broker() -> Iterator[Kafka]:
    """Start a broker for one test, since the collector's topics have fixed names."""
    with needed(lambda: Kafka({"group.min.session.timeout.ms": "1000"})) as service:
        yield service


async def test_a_page_view_becomes_a_client(own_broker: Kafka, own_redis: Redis, tmp_path: Path) -> None:
    """Each step happens, and happens once: view, form, lead.sql, task and mail, deal, contract, signature, client."""
    async with company(own_broker.address, own_redis.url, tmp_path) as acme:
        with acme.programs() as running:
            try:
                steps = await _flow(acme)
            except BaseException:
                shown = [f"--- {name}\n{one.words[-6000:]}" for name, one in running.items()]
                held = [*acme.tape.records, *acme.acts(), acme.crm.refusals, acme.contracts.refusals]
                print(*shown, *held, *acme.contracts.requests, sep="\n")  # noqa: T201
                raise
            _once(acme)
            for name, one in running.items():
                assert await asyncio.to_thread(one.end) == 0, f"{name}: {one.words}"
                assert "Traceback" not in one.words, f"{name}: {one.words}"
                assert not found_in(one.words, [ADDRESS, *SECRETS.values()]), name
    print("| from | to | s |\n|---|---|---|")  # noqa: T201
    for begin, end, took_s in steps:
        print(f"| {begin} | {end} | {took_s:.2f} |")  # noqa: T201


async def _flow(acme: Company) -> list[tuple[str, str, float]]:
    """Play the person, sales and the vendors. Returns from what to what each step took how long (s)."""
    tape, crm, contracts = acme.tape, acme.crm, acme.contracts
    token = await asyncio.to_thread(acme.command, "connections", "token", "www", f"email:{ADDRESS}")
    visitor = Visitor(acme.port)
    viewed_s = await visitor.send("page.viewed", {"duration_s": 40})
    form = {"form_id": "demo", "fields": {"email": ADDRESS}}
    filled_s = await visitor.send("demo.requested", form, identify=token.strip(), traits=TRAITS)
    await until(lambda: tape.of("lead.sql"), "lead.sql")
    await until(lambda: acme.tasks("Call Ada"), "the task to call")
    await until(lambda: acme.mailed("Half an hour for Acme"), "the mail with an appointment")

    (contact,) = crm.contacts
    await until(lambda: [one for one in tape.of("profile.updated") if one.subject == contact], "the contact is known")
    await until(lambda: _is_stage(acme, contact, "sql"), "the contact is the lead")

    # The demo takes place, and sales write the contract.
    (acme.documents / f"{contact}.pdf").write_bytes(b"%PDF-1.7")
    deal = crm.open_deal(contact, "appointmentscheduled", "12000")
    moved_s = crm.move_deal(deal, "qualifiedtobuy")
    await until(lambda: tape.of("lead.stage", to="opportunity"), "the opportunity")
    await until(lambda: contracts.activated, "the contract is active")

    signed_s = await acme.signed(contracts.activated[0])
    await until(lambda: tape.of("lead.stage", to="client"), "the client")
    await until(lambda: acme.tasks("Welcome Ada"), "the task to welcome")
    await until(lambda: _is_stage(acme, contact, "client"), "the client in Redis")
    await until(lambda: _all_ended(acme), "all acts have ended")

    made_s = next(at_s for at_s, one in crm.told if one["subscriptionType"] == "contact.creation")
    known_s = next(one.at_s for one in tape.of("profile.updated") if one.subject == contact)
    sql_s, requested_s = tape.of("lead.sql")[0].at_s, tape.of("demo.requested")[0].at_s
    opportunity_s, open_s = tape.of("crm.opportunity")[0].at_s, tape.of("lead.stage", to="opportunity")[0].at_s
    won_s, client_s = tape.of("crm.won")[0].at_s, tape.of("lead.stage", to="client")[0].at_s
    draft_s = contracts.asked("POST", "/signature_requests$")[0].came_s
    active_s = contracts.asked("POST", "/activate$")[0].came_s
    return [
        ("the browser sends the page view", "`page.viewed` in Kafka", tape.of("page.viewed")[0].at_s - viewed_s),
        ("the browser sends the form", "`demo.requested` in Kafka", requested_s - filled_s),
        ("`demo.requested` in Kafka", "`lead.sql` in Kafka", sql_s - requested_s),
        ("`lead.sql` in Kafka", "the task comes to HubSpot", acme.tasks("Call Ada")[0] - sql_s),
        ("`lead.sql` in Kafka", "the mail comes to the mail server", acme.mailed("Half an hour")[0][0] - sql_s),
        ("HubSpot makes the contact", "its id is known in Kafka", known_s - made_s),
        ("sales move the deal", "`crm.opportunity` in Kafka", opportunity_s - moved_s),
        ("`crm.opportunity` in Kafka", "`lead.stage`, to opportunity", open_s - opportunity_s),
        ("`lead.stage`, to opportunity", "the draft comes to Yousign", draft_s - open_s),
        ("the draft comes to Yousign", "the contract is activated", active_s - draft_s),
        ("Yousign sends the signature", "`crm.won` in Kafka", won_s - signed_s),
        ("`crm.won` in Kafka", "`lead.stage`, to client", client_s - won_s),
        ("`lead.stage`, to client", "the task to welcome comes to HubSpot", acme.tasks("Welcome Ada")[0] - client_s),
    ]


async def _is_stage(acme: Company, lead: str, stage: str) -> bool:
    return await acme.stage(lead) == stage


async def _all_ended(acme: Company) -> bool:
    found = await asyncio.to_thread(acme.acts)
    return all(one["state"] in ("done", "cancelled") for one in found)


def _once(acme: Company) -> None:
    """Hold that each step happened exactly once."""
    tape = acme.tape
    events = Counter(one.type for one in tape.records if one.topic.startswith("lead.events."))
    once = ("page.viewed", "demo.requested", "lead.identified", "crm.opportunity", "crm.won")
    assert {name: events[name] for name in once} == dict.fromkeys(once, 1)
    assert len({(one.topic, one.id) for one in tape.records}) == len(tape.records)
    assert len(tape.of("lead.sql")) == 1
    assert len(tape.of("lead.stage", to="opportunity")) == len(tape.of("lead.stage", to="client")) == 1
    assert len(acme.tasks("")) == 2, acme.crm.tasks
    assert [str(mail["Subject"]) for _, mail in acme.mails.came] == ["Half an hour for Acme"]
    assert len(acme.contracts.held) == len(acme.contracts.asked("POST", "/activate$")) == 1
    assert len(acme.crm.contacts) == 1
    assert not acme.crm.refusals + acme.contracts.refusals
    acts = Counter((one["rule"], one["state"]) for one in acme.acts())
    assert acts == Counter({(rule, "done"): 1 for rule in ("call", "appointment", "contract", "welcome")})
