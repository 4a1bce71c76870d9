"""Mails: consent, suppression by lead and address, at most two a day, nurturing by phase, erasure, and a test of a rule."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.acting import ENVIRONMENT, Acting, MailSenders, Senders, Target, lost
from tests.kit.mail_acts import DAY_MS, INVITE, MAILING, MAILS, NURTURE, mail_stage, over, person
from tests.kit.waits import until
from worker.automations.calls import NoLogins
from worker.automations.file import parse_rules
from worker.automations.live import Files
from worker.automations.trial import tried
from worker.connections.file import parse_connections
from worker.errors import AutomationsError


async def test_a_mail_goes_to_a_lead_who_consents() -> None:
    """And to no other one."""
    made = mail_stage()
    async with made.acting():
        made.publish(lead="eve", traits={"email": "eve@example.com"})
        made.publish(lead="ada", **person())
        await over(made, 1)
    assert [to for to, _ in made.target.mails] == ["ada@example.com"]
    assert [row.state for row in await made.rows()] == ["done"]


async def test_consent_that_was_withdrawn_meanwhile_cancels_a_mail() -> None:
    """The output said yes; the lead's newest state says no. A lead without a state is taken at the output's word."""
    made = mail_stage()
    made.consents = {"eve": False, "ada": True}
    async with made.acting():
        for lead in ("eve", "ada", "bob"):
            made.publish(lead=lead, **person(f"{lead}@example.com"))
        await over(made, 3)
    assert sorted(to for to, _ in made.target.mails) == ["ada@example.com", "bob@example.com"]
    (row,) = await made.rows("eve")
    assert (row.state, row.detail) == ("cancelled", "the trait marketing_consent is not true any more")


@pytest.mark.parametrize("type_", ["email.unsubscribed", "email.complained", "email.bounced"])
async def test_no_mail_to_a_suppressed_address_whatever_lead_has_it(type_: str) -> None:
    """The event names the lead; its address is suppressed too, and another lead has the same one."""
    made = mail_stage()
    made.addresses["ada"] = "Ada@Example.com"
    async with made.acting():
        made.happen(type_, "ada")
        await asyncio.sleep(0.3)
        made.publish(lead="ada", **person("new@example.com"))
        made.publish(lead="other", **person("ADA@example.com"))
        await over(made, 2)
    assert made.target.mails == []
    assert set(await made.states()) == {"cancelled"}


async def test_a_new_subscription_lifts_an_unsubscription_and_nothing_else() -> None:
    """A complaint stays."""
    made = mail_stage()
    async with made.acting():
        made.happen("email.unsubscribed", "email:ada@example.com")
        made.happen("email.complained", "email:eve@example.com")
        made.later(1_000)
        made.happen("email.subscribed", "email:ada@example.com")
        made.happen("email.subscribed", "email:eve@example.com")
        await asyncio.sleep(0.5)
        made.publish(lead="ada", **person("ada@example.com"))
        made.publish(lead="eve", **person("eve@example.com"))
        await over(made, 2)
    assert [to for to, _ in made.target.mails] == ["ada@example.com"]


async def test_two_mails_a_day_to_an_address() -> None:
    """The third waits for tomorrow, whichever lead it is for; then it is too old, and reported."""
    made = mail_stage()
    async with made.acting():
        for number in range(3):
            made.publish(lead=f"lead-{number}", **person("ada@example.com"))
        await over(made, 2)
        made.later(DAY_MS + 60_000)
        await over(made, 3)
    assert len(made.target.mails) == 2
    assert sorted(await made.states()) == ["done", "done", "stale"]


async def test_mails_that_waited_for_the_server_count_from_when_they_went_out() -> None:
    """It was down for 23 hours. Their first tries were a day ago soon after it came back."""
    made = mail_stage(INVITE.replace("do: send,", "do: send, fresh: 7d,"))
    made.target.answers = [450] * 2
    async with made.acting():
        for lead in ("ada", "bob"):
            made.publish(lead=lead, **person("team@example.com"))
        await until(lambda: len(made.target.mails) == 2, "their first tries")
        made.later(23 * 3_600_000)
        await over(made, 2)
        made.later(2 * 3_600_000)
        made.publish(lead="eve", **person("team@example.com"))
        await until(lambda: made.put_back("mail"), "the third waits")
        made.later(22 * 3_600_000)
        await over(made, 3)
    assert await made.states() == ["done"] * 3


async def test_a_lost_reply_is_unknown_and_never_sent_again() -> None:
    """A person decides."""
    made = mail_stage()
    made.target.answers = [lost()]
    async with made.acting():
        made.publish(lead="ada", **person())
        await until(lambda: made.target.mails, "the mail")
        made.later(60_000)
        await over(made, 1)
    assert await made.states() == ["unknown"]
    assert len(made.target.mails) == 1


async def test_contents_by_phase_each_once() -> None:
    """The first when the phase is entered, the next after `every`, none twice, none after it is left."""
    made = mail_stage(NURTURE)
    phase = {"from": "discovery", "to": "consideration", "stage": "mql"}
    async with made.acting():
        made.publish("lead.phase", seq=1, **{**person(), **phase})
        await over(made, 1)
        made.publish("lead.phase", seq=2, **{**person(), "from": "consideration", "to": "discovery", "stage": "mql"})
        made.publish("lead.phase", seq=3, **{**person(), **phase})
        await asyncio.sleep(0.5)
        assert len(made.target.mails) <= 2
        made.later(4 * DAY_MS + 60_000)
        await over(made, 2)
        made.later(4 * DAY_MS + 60_000)
        await asyncio.sleep(1.5)
    subjects = [message.split(b"\r\n")[0] for _, message in made.target.mails]
    assert subjects == [b"Subject: Case", b"Subject: Webinar"]


PHASE = {"from": "discovery", "to": "consideration", "stage": "mql"}
ADDRESS = "email:ada@example.com"


async def _had_a_content(made: Acting, lead: str) -> None:
    made.publish("lead.phase", lead, seq=1, **{**person(), **PHASE})
    await over(made, 1)


@pytest.mark.parametrize("address", ["ada@example.com", "new@example.com"])
async def test_a_person_gets_each_content_once_under_all_ids(address: str) -> None:
    """An address becomes a lead of the CRM, which has that address or a newer one. It goes on with the next content."""
    made = mail_stage(NURTURE)
    async with made.acting():
        await _had_a_content(made, ADDRESS)
        made.aliases["42"] = (ADDRESS,)
        made.publish("lead.stage", ADDRESS, seq=2, **{**person(), "to": "contact", "merged_into": "42"})
        made.publish("lead.phase", "42", seq=1, **{**person(address), **PHASE})
        await over(made, 2)
        made.later(5 * DAY_MS)
        await asyncio.sleep(1)
    assert [message.split(b"\r\n")[0] for _, message in made.target.mails] == [b"Subject: Case", b"Subject: Webinar"]


async def test_a_person_gets_each_content_once_before_two_ids_are_one() -> None:
    """Both are nurtured at the same time. The address tells that they are one person."""
    made = mail_stage(NURTURE.replace("every: 4d", "every: 30d"))
    async with made.acting():
        for lead in (ADDRESS, "42"):
            made.publish("lead.phase", lead, seq=1, **{**person(), **PHASE})
        await over(made, 2)
    subjects = [message.split(b"\r\n")[0] for _, message in made.target.mails]
    assert sorted(set(subjects)) == sorted(subjects), "none twice"
    assert b"Subject: Case" in subjects


async def test_a_content_goes_out_by_the_act_that_is_noted_for_the_person() -> None:
    """Another id of the person has it in the ledger by the time it is sent."""
    made = mail_stage(NURTURE)
    for ledger in made.ledgers:
        await ledger.content_allowed("ada@example.com", "considering/case-study", "another")
    async with made.acting():
        await _had_a_content(made, "42")
    assert [message.split(b"\r\n")[0] for _, message in made.target.mails] == [b"Subject: Webinar"]


async def test_who_unsubscribed_under_another_id_gets_no_mail() -> None:
    """The lead has a newer address by now, and mail tools name people by the address alone."""
    made = mail_stage()
    made.aliases["42"] = ("visitor:1", ADDRESS)
    async with made.acting():
        made.happen("email.unsubscribed", ADDRESS)

        async def suppressed() -> bool:
            return any([await ledger.suppressed([ADDRESS]) for ledger in made.ledgers])

        await until(suppressed, "the address is suppressed")
        made.publish(lead="42", **person("new@example.com"))
        await over(made, 1)
    assert (made.target.mails, await made.states()) == ([], ["cancelled"])


async def test_two_mails_a_day_go_to_an_address_under_all_ids() -> None:
    """An address and a lead of the CRM that has it are counted together."""
    made = mail_stage()
    async with made.acting():
        for number, lead in enumerate((ADDRESS, "42", "email:ADA@example.com")):
            made.publish(lead=lead, seq=number + 1, **person())
        await over(made, 2)
        await asyncio.sleep(0.5)
    assert len(made.target.mails) == 2


async def test_a_stop_ends_nurturing() -> None:
    """Sales has the lead now."""
    made = mail_stage(NURTURE)
    async with made.acting():
        made.publish("lead.phase", seq=1, **{**person(), "from": None, "to": "consideration", "stage": "mql"})
        await over(made, 1)
        made.publish("lead.sql", seq=2, **person())
        await asyncio.sleep(0.5)
        made.later(5 * DAY_MS)
        await asyncio.sleep(1.5)
    assert len(made.target.mails) == 1


async def test_an_erased_lead_leaves_nothing() -> None:
    """Rows, states and enrolments are gone."""
    made = mail_stage(INVITE + NURTURE)
    async with made.acting():
        made.publish(lead="ada", **person())
        await over(made, 1)
        made.publish("lead.erased", seq=2)

        async def gone() -> bool:
            return await made.rows("ada") == []

        await until(gone, "nothing of the lead")


@pytest.mark.parametrize(("rule", "to"), [("invite", "me@example.com"), ("considering/case-study", "me@example.com")])
async def test_a_rule_is_tried_with_an_invented_lead(rule: str, to: str) -> None:
    """The mail is marked, goes to the address given, and needs no consent."""
    connections = parse_connections(MAILS, "connections.yaml")
    rules = parse_rules((INVITE + NURTURE).encode(), "automations.yaml", connections, kinds=MAILING)
    target = Target()
    files = Files(connections, rules, ENVIRONMENT)
    ended = await tried(files, rule, to, Senders(target), MailSenders(target), NoLogins(), MAILING)
    assert ended["state"] == "done"
    ((address, message),) = target.mails
    assert address == to
    assert message.startswith(b"Subject: [TEST] ")


async def test_a_rule_that_is_not_there() -> None:
    """It is told with those that are."""
    connections = parse_connections(MAILS, "connections.yaml")
    rules = parse_rules(INVITE.encode(), "automations.yaml", connections, kinds=MAILING)
    target = Target()
    with pytest.raises(AutomationsError, match="the rules are invite"):
        await tried(
            Files(connections, rules, ENVIRONMENT), "call", "a@b.c", Senders(target), MailSenders(target), NoLogins()
        )  # fmt: skip
