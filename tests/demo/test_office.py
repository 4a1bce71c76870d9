"""The demo's rules and the tools that it acts at: what goes out for a hot lead, and what the demo says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port

from tests.kit.rules import an_output
from tests.kit.vendors.driving import Attempt, Driver
from worker.automations.acts import Act
from worker.automations.file import parse_rules
from worker.automations.requests import Run
from worker.automations.rules import Rules
from worker.automations.targets.registry import KINDS
from worker.demo.automations import rules_for
from worker.demo.office import Office, Sent
from worker.demo.outbox import Outbox
from worker.demo.signing import Secrets, connections_of
from worker.presets import presets, read_grid

SECRETS = Secrets()
_, CONNECTIONS = connections_of("http://127.0.0.1:1", "http://127.0.0.1:2")
NAMED = {"email": "Ada@acme.example", "company.name": "Acme"}


def rules(*phases: str) -> Rules:
    """Return the demo's rules."""
    return parse_rules(rules_for(phases).encode(), "automations.yaml", CONNECTIONS, folder=Path())


def acts(lead_id: str, **traits: str) -> dict[str, Act]:
    """Return what a `lead.sql` brings about, by rule."""
    drafts = rules().plan(an_output("lead.sql", lead_id, traits=traits)).drafts
    assert [draft.dead for draft in drafts if draft.dead] == []
    return {draft.act.rule: draft.act for draft in drafts}


@pytest.fixture
async def office() -> AsyncIterator[tuple[Office, str]]:
    """Serve the tools; also give their address."""
    port = unused_port()
    served = Office(port, SECRETS)
    await served.open()
    yield served, f"http://127.0.0.1:{port}"
    await served.close()


async def do(act: Act, url: str, secrets: Secrets = SECRETS) -> Attempt:
    """Do *act* by its target's own steps."""
    target = CONNECTIONS.targets[act.target]
    held = secrets.environment
    headers = {"sales": {"Authorization": f"Bearer {held['DEMO_CRM']}"}, "mail": {"api-key": held["DEMO_MAIL"]}}
    return await Driver(KINDS[target.kind], target, url, headers[act.target]).act(act, Run(now_ms=1))


async def test_a_hot_lead_becomes_a_task_and_a_mail(office: tuple[Office, str]) -> None:
    """The task says who calls whom until when, and for which output. The mail goes to the lead."""
    served, url = office
    for act in acts("100042", **NAMED).values():
        ended = await do(act, url)
        assert (ended.error, bool(ended.remote_id)) == (None, True)
    task, mail = served.taken()
    assert task.owner in ("anna@acme.example", "bram@acme.example")
    assert (task.kind, task.to, task.rule, task.output) == ("task", "100042", "call", "100042:2")
    assert task.subject == "Call Ada@acme.example by Thu 05 Mar 16:34"
    assert (mail.kind, mail.to, mail.rule) == ("mail", "Ada@acme.example", "appointment")
    assert mail.subject == "Half an hour for Acme"
    assert served.taken() == []


async def test_a_visitor_who_left_an_address_becomes_a_contact(office: tuple[Office, str]) -> None:
    """The CRM finds it by the address, each time the same one."""
    served, url = office
    for name in ("bob", "ada", "bob"):
        lead = f"email:{name}@acme.example"
        assert (await do(acts(lead, email=f"{name}@acme.example")["call"], url)).error is None
    assert [sent.to for sent in served.taken()] == [f"{name}@acme.example" for name in ("bob", "ada", "bob")]


async def test_a_lead_without_an_address_is_called_and_gets_no_mail() -> None:
    """A mail that cannot be addressed would be a dead act."""
    assert list(acts("100042")) == ["call"]


async def test_another_token_is_refused(office: tuple[Office, str]) -> None:
    """Whoever finds the port writes no task."""
    served, url = office
    for act in acts("100042", **NAMED).values():
        assert (await do(act, url, Secrets())).error is not None
    assert served.taken() == []


def test_each_phase_of_a_grid_has_a_content() -> None:
    """Grids without phases have no nurturing. The mail has a way out, which the connections make."""
    found = {name: tuple(read_grid(name).phases) for name in presets()}
    assert rules_for(found["saas-b2b"]) == rules_for(())
    for phase in found["article-75"]:
        output = an_output("lead.phase", to=phase, traits=NAMED)
        held = rules(*found["article-75"])
        [enrolment] = held.plan(output).enrolments
        draft = held.next_content(enrolment.rule, output, (), output.at_ms).draft
        assert draft is not None
        assert (draft.dead, draft.act.rule) == ("", f"{phase}/content")
        assert draft.act.fields["subject"] == f"For your {phase} phase"
    assert CONNECTIONS.unsubscribe


def test_the_seconds_count_from_the_lead_sql() -> None:
    """A task names its output. A mail goes to the address of a lead, whose latest `lead.sql` counts."""
    outbox = Outbox()
    sql = {"id": "100042:2", "data": {"lead_id": "100042", "traits": {"email": "Ada@acme.example"}}}
    outbox.published(sql, 1_000)
    outbox.went_out(Sent("task", "100042", "anna@acme.example", "Call Ada", "call", "100042:2", 1_250))
    outbox.went_out(Sent("mail", "ada@acme.example", "", "Half an hour", "appointment", "", 1_500))
    assert outbox.lines() == [
        "task for anna@acme.example: Call Ada  (0.25 s after lead.sql)",
        "mail to ada@acme.example: Half an hour  (0.50 s after lead.sql)",
    ]
    assert outbox.sent == {"task": 1, "mail": 1}
    assert outbox.in_words() == "half of the tasks and mails went out within 0.38 s of lead.sql, all within 0.50 s"


def test_what_is_faster_than_the_demo_reads_waits_for_its_lead_sql() -> None:
    """A content for a buying phase does not, since no `lead.sql` comes before it."""
    outbox = Outbox()
    outbox.went_out(Sent("mail", "ada@acme.example", "", "For you", "discovery/content", "", 1_500))
    outbox.went_out(Sent("mail", "bob@acme.example", "", "Half an hour", "appointment", "", 1_500))
    assert outbox.lines() == ["mail to ada@acme.example: For you  (discovery/content)"]
    outbox.published({"id": "8:1", "data": {"lead_id": "email:bob@acme.example", "traits": {}}}, 1_400)
    assert outbox.lines() == ["mail to bob@acme.example: Half an hour  (0.10 s after lead.sql)"]
    assert [line.partition(":")[0] for line in outbox.shown] == ["mail to bob@acme.example", "mail to ada@acme.example"]


def test_acts_that_were_not_done_are_told() -> None:
    """By outcome; and the demo ends when each `lead.sql` has been acted on, whatever the outcome."""
    outbox = Outbox()
    assert outbox.in_words() == "no act was due"
    for rule, outcome in (("call", "done"), ("call", "dead"), ("appointment", "cancelled"), ("appointment", "dead")):
        outbox.acted({"data": {"rule": rule, "outcome": outcome}})
    assert outbox.done("call") == 2
    assert outbox.in_words() == "not done: 1 cancelled, 2 dead"


async def test_an_office_that_never_opened_can_be_closed() -> None:
    """As where another server does not start."""
    await asyncio.wait_for(Office(unused_port(), SECRETS).close(), 5)
