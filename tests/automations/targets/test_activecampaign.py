"""Contacts, tags, lists, automations and tasks against an ActiveCampaign that refuses what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.kit.vendors.activecampaign import ActiveCampaign
from tests.kit.vendors.base import Reply
from tests.kit.vendors.driving import Driver, act_of, state_of
from worker.automations.requests import Again, Final, Lost, Misconfigured, Run, Unknown
from worker.automations.targets.activecampaign import KIND
from worker.connections.secret import Secret
from worker.connections.targets import ActiveCampaignTarget

TASK = {"subject": "Call Ada", "body": "Hot & ready", "due": "2026-03-05T16:34:56.789Z", "owner": "anna@example.com"}


@pytest.fixture
async def account() -> AsyncIterator[ActiveCampaign]:
    """An account."""
    async with ActiveCampaign() as vendor:
        yield vendor


def driver(account: ActiveCampaign, token: str = "") -> Driver:
    """Return a driver of the account."""
    target = ActiveCampaignTarget(kind="activecampaign", token=Secret("${T}"), base_url=account.root)
    return Driver(KIND, target, account.root, {"Api-Token": token or account.token})


async def test_states_become_fields(account: ActiveCampaign) -> None:
    """By the personalization tag, in any case of letters, the title or the id. A missing field is named."""
    for number in range(3, 250):
        account.fields[str(number)] = f"OTHER_{number}"
    account.fields["900"] = "LAST_ONE"
    written = await driver(account).write(state_of("crm", "lead-1", {"leadpulse_score": 78.5, "2": "sql", "Last One": True}))
    assert [one.error for one in written] == [None]
    [contact] = account.contacts.values()
    assert (contact["email"], contact["values"]) == ("lead-1@acme.example", {"1": "78.5", "2": "sql", "900": "true"})
    assert account.refusals == []
    [missing] = await driver(account).write(state_of("crm", "lead-1", {"nothing": 1}))
    assert isinstance(missing.error, Final)
    assert "no field 'nothing'" in str(missing.error)
    [nobody] = await driver(account).write(state_of("crm", "lead-3", {"2": "sql"}, person={}))
    assert isinstance(nobody.error, Final)


async def test_tags_lists_and_automations_nurture(account: ActiveCampaign) -> None:
    """Each on the lead's contact, which is made first."""
    for number in range(150):
        account.tags[f"x{number}"] = f"consideration {number}"
    account.tags = {**{f"y{n}": f"Consideration {n}" for n in range(150)}, **account.tags}
    drive = driver(account)
    acts: list[tuple[str, dict[str, str | int]]] = [
        ("tag", {"tag": "consideration"}), ("tag", {"tag": "20"}), ("list", {"list": 7}), ("automation", {"automation": 42}),
    ]  # fmt: skip
    for do, fields in acts:
        assert (await drive.act(act_of("crm", do, fields))).error is None
    [contact] = account.contacts
    assert account.tagged == {(contact, "20")}
    assert account.listed == {(contact, "7")}
    assert account.automations == [(contact, "42")]
    assert account.refusals == []
    missing = await drive.act(act_of("crm", "tag", {"tag": "nothing"}))
    assert isinstance(missing.error, Final)


async def test_an_automation_whose_answer_was_lost_starts_once(account: ActiveCampaign) -> None:
    """It is looked up. Where it does not show, a person decides."""
    act = act_of("crm", "automation", {"automation": 42})
    account.lose_answer("POST", "/contactAutomations$")
    first = await driver(account).act(act)
    assert isinstance(first.error, Lost)
    assert (await driver(account).again(act, first)).error is None
    assert len(account.automations) == 1
    other = await driver(account).act(act_of("crm", "automation", {"automation": 43}), Run(first.known, "automation"))
    assert isinstance(other.error, Unknown)


@pytest.mark.parametrize("unsure", ["task", "*"])
async def test_a_task_is_made_once_on_the_contact(account: ActiveCampaign, unsure: str) -> None:
    """A lost answer is looked up by the reference in its note, on every page."""
    act = act_of("crm", "task", TASK)
    account.lose_answer("POST", "/dealTasks$")
    first = await driver(account).act(act)
    assert isinstance(first.error, Lost)
    [contact] = account.contacts
    made = account.tasks.pop("1")
    account.tasks = {**{f"o{n}": {"relid": contact, "note": "LeadPulse call lead-42:71"} for n in range(230)}, "1": made}
    second = await driver(account).act(act, Run({} if unsure == "*" else first.known, unsure))
    assert (second.error, second.remote_id, account.refusals) == (None, "1", [])
    assert (made["assignee"], made["duedate"]) == ("5", "2026-03-05T16:34:56+00:00")
    assert made["note"] == "Hot & ready\n\nLeadPulse call lead-42:7"
    lost = await driver(account).act(act_of("crm", "task", TASK, rule="other"), Run({"contact": contact}, "task"))
    assert isinstance(lost.error, Unknown)


@pytest.mark.parametrize(
    ("change", "words"), [({"kind": "Fax"}, "no task type 'Fax'"), ({"owner": "eve@x.example"}, "no user")]
)
async def test_a_task_that_cannot_be_made_says_why(account: ActiveCampaign, change: dict[str, str], words: str) -> None:
    """With what the account has."""
    ended = await driver(account).act(act_of("crm", "task", TASK | change))
    assert isinstance(ended.error, Final)
    assert words in str(ended.error)
    assert account.tasks == {}


async def test_a_person_is_forgotten(account: ActiveCampaign) -> None:
    """Once, and again without an error."""
    await driver(account).act(act_of("crm", "list", {"list": 7}))
    for _ in range(2):
        assert (await driver(account).act(act_of("crm", "forget", {}))).error is None
    assert account.contacts == {}


async def test_refusals_are_told_apart(account: ActiveCampaign) -> None:
    """A wrong key is the target's. A 429 says how long to wait."""
    assert isinstance((await driver(account, "other").act(act_of("crm", "task", TASK))).error, Misconfigured)
    account.script("POST", "/contact/sync$", Reply(429, {"message": "slow down"}, {"Retry-After": "3"}))
    ended = await driver(account).act(act_of("crm", "task", TASK))
    assert isinstance(ended.error, Again)
    assert ended.error.after_s == 3
    account.script("POST", "/dealTasks$", Reply(503))
    assert isinstance((await driver(account).act(act_of("crm", "task", TASK))).error, Again)
