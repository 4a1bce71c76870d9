"""Mails, contacts, lists, events and tasks against a Brevo that refuses what Brevo refuses."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import icalendar
import pytest

from tests.kit.vendors.base import Reply
from tests.kit.vendors.brevo import Brevo
from tests.kit.vendors.driving import Driver, act_of, state_of
from worker.automations.requests import Again, Answer, Final, Lost, Misconfigured, Run, Unknown
from worker.automations.targets.brevo import KIND
from worker.automations.targets.mail import UNSUBSCRIBE_URL
from worker.connections.secret import Secret
from worker.connections.targets import BrevoTarget

NOW_MS = 1_772_713_900_000
MAIL = {"to": "ada@acme.example", "subject": "An appointment", "html": "<p>Hello</p>", "text": "Hello"}
TASK = {"subject": "Call Ada", "body": "<p>Hot</p>", "due": "2026-03-05T16:34:56.789Z", "owner": "anna@example.com"}


@pytest.fixture
async def account() -> AsyncIterator[Brevo]:
    """An account."""
    async with Brevo() as vendor:
        yield vendor


def driver(account: Brevo, token: str = "", sender: str | None = "Acme <hello@example.com>") -> Driver:
    """Return a driver of the account."""
    held = {"kind": "brevo", "token": Secret("${T}"), "base_url": account.url, "from": sender}
    target = BrevoTarget.model_validate(held)
    return Driver(KIND, target, account.url, {"api-key": token or account.token})


async def test_a_mail_is_sent(account: Brevo) -> None:
    """With text and HTML, and with a key that Brevo knows a repeat by."""
    ended = await driver(account).act(act_of("mail", "send", MAIL), Run(now_ms=NOW_MS))
    assert (ended.error, account.refusals, ended.remote_id) == (None, [], "<1@smtp-relay.mailin.fr>")
    [mail] = account.mails
    assert mail["sender"] == {"email": "hello@example.com", "name": "Acme"}
    assert (mail["to"], mail["htmlContent"], mail["textContent"]) == ([{"email": "ada@acme.example"}], "<p>Hello</p>", "Hello")
    assert "List-Unsubscribe" not in mail["headers"]


@pytest.mark.parametrize("taken", [True, False])
async def test_a_lost_answer_leads_to_one_mail(account: Brevo, taken: bool) -> None:
    """While the key lives, Brevo refuses the repeat, or takes it where it had none."""
    account.script("POST", "/smtp/email$", effect=taken, lost=True)
    first = await driver(account).act(act_of("mail", "send", MAIL), Run(now_ms=NOW_MS))
    assert isinstance(first.error, Lost)
    assert first.unsure == "send"
    second = await driver(account).act(act_of("mail", "send", MAIL), Run(first.known, first.unsure, NOW_MS + 500_000))
    assert (second.error, len(account.mails)) == (None, 1)


@pytest.mark.parametrize(("known", "unsure"), [({}, "*"), ({"sent_ms": str(NOW_MS - 700_000)}, "send")])
async def test_a_key_that_may_have_ended_leaves_it_to_a_person(account: Brevo, known: dict[str, str], unsure: str) -> None:
    """Brevo's pages name 15 and 30 minutes."""
    ended = await driver(account).act(act_of("mail", "send", MAIL), Run(known, unsure, NOW_MS))
    assert isinstance(ended.error, Unknown)
    assert account.requests == []


async def test_an_attempt_that_was_put_off_gets_a_new_start(account: Brevo) -> None:
    """A 429 says that nothing was sent, so the key's life begins with the next attempt."""
    account.limits = (10, 0, 42)
    account.script("POST", "/smtp/email$", Reply(429, {"code": "too_many_requests"}))
    first = await driver(account).act(act_of("mail", "send", MAIL), Run(now_ms=NOW_MS))
    assert isinstance(first.error, Again)
    assert first.error.after_s == 42
    second = await driver(account).act(act_of("mail", "send", MAIL), Run(first.known, first.unsure, NOW_MS + 900_000))
    assert second.known == {"sent_ms": str(NOW_MS + 900_000)}
    assert len(account.mails) == 1


async def test_a_nurturing_mail_unsubscribes_with_one_click(account: Brevo) -> None:
    """Its link stands in the headers and in the text. Without a way out, it is not sent."""
    fields = MAIL | {"html": f'<p><a href="{UNSUBSCRIBE_URL}">No more</a></p>', "text": f"No more: {UNSUBSCRIBE_URL}"}
    act = act_of("mail", "send", fields, rule="considering/case-study")
    out = "https://in.example.com/lp/unsubscribe/TOKEN"
    assert (await driver(account).act(act, Run(now_ms=NOW_MS, unsubscribe=out))).error is None
    [mail] = account.mails
    assert mail["headers"]["List-Unsubscribe"] == f"<{out}>"
    assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["htmlContent"] == f'<p><a href="{out}">No more</a></p>'
    assert mail["textContent"] == f"No more: {out}"
    ended = await driver(account).act(act, Run(now_ms=NOW_MS))
    assert isinstance(ended.error, Final)


async def test_an_invitation_goes_with_the_mail(account: Brevo) -> None:
    """As a file of iCalendar."""
    fields = MAIL | {
        "invite": {"title": "Demo", "start": "2026-03-06T14:00:00+01:00", "minutes": 45},
        "reply_to": "Anna <a@x.example>",
    }
    assert (await driver(account).act(act_of("mail", "send", fields), Run(now_ms=NOW_MS))).error is None
    [mail] = account.mails
    assert mail["replyTo"] == {"email": "a@x.example", "name": "Anna"}
    calendar = icalendar.Calendar.from_ical(base64.b64decode(mail["attachment"][0]["content"]))
    [event] = calendar.walk("VEVENT")
    assert (event["dtstart"].to_ical(), event["dtend"].to_ical()) == (b"20260306T130000Z", b"20260306T134500Z")


async def test_states_become_attributes(account: Brevo) -> None:
    """In capitals. A lead without an address, and an attribute that the account lacks, are named."""
    written = await driver(account).write(
        state_of("mail", "lead-1", {"leadpulse_score": 78.5}), state_of("mail", "lead-2", {"nothing": 1}),
        state_of("mail", "lead-3", {"leadpulse_score": 1}, person={}),
    )  # fmt: skip
    assert [type(one.error) for one in written] == [type(None), Final, Final]
    assert account.contacts["lead-1@acme.example"]["attributes"] == {"LEADPULSE_SCORE": 78.5}
    assert account.refusals == ["CreateContact.attributes: must be present in your account"]


async def test_lists_and_events_start_automations(account: Brevo) -> None:
    """A list is safe to repeat. A lost event is left to a person."""
    assert (await driver(account).act(act_of("mail", "list", {"list": 7}))).error is None
    assert account.contacts["ada@acme.example"]["listIds"] == [7]
    event = act_of("mail", "event", {"event": "lead_sql", "properties": {"score": 78.5}})
    account.lose_answer("POST", "/events$")
    first = await driver(account).act(event)
    assert isinstance(first.error, Lost)
    assert isinstance((await driver(account).again(event, first)).error, Unknown)
    assert (len(account.events), account.refusals) == (1, [])


async def test_a_task_is_made_on_the_contact(account: Brevo) -> None:
    """A lost answer is looked up among the contact's tasks."""
    account.contacts["ada@acme.example"] = {"id": 77, "email": "ada@acme.example", "attributes": {}, "listIds": []}
    act = act_of("mail", "task", TASK)
    account.lose_answer("POST", "/crm/tasks$")
    first = await driver(account).act(act)
    assert isinstance(first.error, Lost)
    second = await driver(account).again(act, first)
    assert (second.error, second.remote_id, account.refusals) == (None, "task-1", [])
    [task] = account.tasks.values()
    assert (task["contactsIds"], task["assignToId"], task["date"]) == ([77], "anna@example.com", "2026-03-05T16:34:56.789Z")
    assert isinstance((await driver(account).act(act_of("mail", "task", TASK | {"kind": "Fax"}))).error, Final)
    lost = await driver(account).act(act_of("mail", "task", TASK, rule="other"), Run({"contact": "77"}, "task"))
    assert isinstance(lost.error, Unknown)


async def test_a_person_is_forgotten(account: Brevo) -> None:
    """Once, and again without an error."""
    account.contacts["ada@acme.example"] = {"id": 77, "email": "ada@acme.example", "attributes": {}, "listIds": []}
    for _ in range(2):
        assert (await driver(account).act(act_of("mail", "forget", {}))).error is None
    assert account.contacts == {}


async def test_refusals_are_told_apart(account: Brevo) -> None:
    """A wrong key is the target's, and so is a missing sender."""
    assert isinstance((await driver(account, "other").act(act_of("mail", "send", MAIL))).error, Misconfigured)
    assert isinstance((await driver(account, sender=None).act(act_of("mail", "send", MAIL))).error, Misconfigured)
    account.script("POST", "/smtp/email$", Reply(400, {"code": "invalid_parameter", "message": "sender is not verified"}))
    ended = await driver(account).act(act_of("mail", "send", MAIL))
    assert isinstance(ended.error, Final)
    assert "sender is not verified" in str(ended.error)


def test_little_of_the_limit_left_makes_a_pause() -> None:
    """30 % of it stays for others."""
    names = [f"x-sib-ratelimit-{name}" for name in ("limit", "remaining", "reset")]
    assert KIND.spare(Answer(200, headers=dict(zip(names, ("10", "2", "9"), strict=True)))) == 9
    assert KIND.spare(Answer(200, headers=dict(zip(names, ("10", "4", "9"), strict=True)))) == 0
