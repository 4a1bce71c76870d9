"""States, nurturing, suppressions and counts of mails in every kind of ledger."""

from __future__ import annotations

from tests.kit.ledgers import HOUR, LEASE, a_content, a_state, an_act, claimed, ended, enrolled, the_row
from worker.automation_ports import EraseLead, Leave, Ledger, Lift, StateEnd, Suppress

DAY = 24 * HOUR


async def _sequences(ledger: Ledger, now_ms: int, target: str = "crm", most: int = 10) -> list[tuple[str, int]]:
    return [(row.lead_id, row.sequence) for row in await ledger.claim_states(target, now_ms, LEASE, most)]


def _written(sequence: int, lead: str = "ann", rule: str = "0") -> StateEnd:
    return StateEnd(rule, lead, sequence)


def _failed(sequence: int, due_ms: int, lead: str = "ann") -> StateEnd:
    return StateEnd("0", lead, sequence, due_ms, "busy")


# --- states ----------------------------------------------------------------------------------------------------------


async def test_only_the_newest_state_of_a_lead_waits(ledger: Ledger) -> None:
    """Since when one waits is that of the first."""
    await ledger.take([a_state(10), a_state(9), a_state(2, "bob", due_ms=99)], 5)
    await ledger.take([a_state(12, packed=bytes(range(256))), a_state(11), a_state(3, target="mail")], 7)
    (row,) = await ledger.claim_states("crm", 8, LEASE, 10)
    assert (row.rule, row.lead_id, row.sequence, row.packed, row.attempts, row.first_ms) == (
        "0", "ann", 12, bytes(range(256)), 1, 5,
    )  # fmt: skip
    assert await _sequences(ledger, 98) == []
    assert await _sequences(ledger, 99) == [("bob", 2)]


async def test_a_written_state_is_not_written_again_nor_an_older_one(ledger: Ledger) -> None:
    """Records are read again after a crash, from before it."""
    await ledger.take([a_state(5)], 0)
    assert await _sequences(ledger, 0) == [("ann", 5)]
    for _ in range(2):
        await ledger.finish_states("crm", [_written(5)], 1)
    await ledger.take([a_state(4), a_state(5)], 2)
    assert (await _sequences(ledger, 2), await ledger.next_due(["crm"])) == ([], None)
    await ledger.take([a_state(6)], 3)
    assert await _sequences(ledger, 3) == [("ann", 6)]


async def test_a_newer_state_waits_until_the_older_one_was_answered(ledger: Ledger) -> None:
    """Else both were on their way at once, and the older one might arrive last."""
    await ledger.take([a_state(5)], 0)
    await _sequences(ledger, 0)
    await ledger.take([a_state(6)], 1)
    assert await _sequences(ledger, LEASE - 1) == []
    await ledger.finish_states("crm", [_written(5)], 2)
    (row,) = await ledger.claim_states("crm", 2, LEASE, 10)
    assert (row.sequence, row.attempts, row.first_ms) == (6, 1, 2)
    assert await _sequences(ledger, 2 + LEASE) == [("ann", 6)], "its process died"


async def test_a_failed_state_waits_for_its_time_also_where_a_newer_one_came(ledger: Ledger) -> None:
    """The target is busy, whatever there is to write."""
    await ledger.take([a_state(5), a_state(1, "bob")], 0)
    await _sequences(ledger, 0)
    await ledger.finish_states("crm", [_failed(5, 500), _failed(1, 400, "bob")], 1)
    await ledger.take([a_state(6)], 2)
    assert await ledger.next_due(["crm"]) == 400
    assert await _sequences(ledger, 499) == [("bob", 1)]
    (row,) = await ledger.claim_states("crm", 500, LEASE, 10)
    assert (row.sequence, row.attempts, row.first_ms) == (6, 2, 0)


async def test_a_state_that_never_succeeds_is_counted_until_a_newer_one_comes(ledger: Ledger) -> None:
    """A newer state may be one that the target takes."""
    await ledger.take([a_state(5), a_state(1, "bob")], 0)
    await _sequences(ledger, 0)
    await ledger.finish_states("crm", [_failed(5, 0), _failed(1, 0, "bob")], 1)
    assert (await ledger.figures(), await ledger.next_due(["crm"])) == ({"crm": {"states_dead": 2}}, None)
    await ledger.take([a_state(5), a_state(6)], 2)
    await ledger.finish_states("crm", [_written(1, "bob")], 2)
    assert await ledger.figures() == {"crm": {"states": 1, "oldest_ms": 2}}
    (row,) = await ledger.claim_states("crm", 2, LEASE, 10)
    assert (row.sequence, row.attempts, row.first_ms) == (6, 1, 2)
    await ledger.take([a_state(7)], 3)
    await ledger.finish_states("crm", [_failed(6, 0)], 4)
    assert await _sequences(ledger, 4) == [("ann", 7)]


async def test_rules_of_one_target_have_a_state_each(ledger: Ledger) -> None:
    """A contact and a company, say."""
    await ledger.take([a_state(5, rule="0"), a_state(5, rule="1"), a_state(5, "a|b", rule="1")], 0)
    rows = await ledger.claim_states("crm", 0, LEASE, 10)
    assert [(row.rule, row.lead_id) for row in rows] == [("0", "ann"), ("1", "ann"), ("1", "a|b")]
    await ledger.finish_states("crm", [_written(5, rule="1"), _written(5, "a|b", "1")], 1)
    rows = await ledger.claim_states("crm", LEASE, LEASE, 10)
    assert [(row.rule, row.lead_id) for row in rows] == [("0", "ann")]


async def test_states_are_leased_in_the_order_in_which_they_became_due(ledger: Ledger) -> None:
    """No more of them than asked for."""
    await ledger.take([a_state(1, f"lead{n}", due_ms=9 - n) for n in range(9)], 0)
    assert await _sequences(ledger, 9, most=2) == [("lead8", 1), ("lead7", 1)]
    assert await _sequences(ledger, 9, most=1) == [("lead6", 1)]
    await ledger.finish_states("crm", [], 9)


# --- nurturing -------------------------------------------------------------------------------------------------------


async def test_each_content_goes_to_a_lead_once(ledger: Ledger) -> None:
    """Also where two processes chose it from two outputs, and after the lead came back."""
    await ledger.take([enrolled(due_ms=10)], 0)
    assert await ledger.claim_enrolled(9, LEASE, 10) == []
    (lead,) = await ledger.claim_enrolled(10, LEASE, 10)
    assert (lead.rule, lead.lead_id, lead.packed, lead.sent) == ("warm", "ann", b"output", ())
    assert await ledger.claim_enrolled(9 + LEASE, LEASE, 10) == []
    await ledger.take([a_content("study", 50)], 11)
    await ledger.take([a_content("study", 50, output="ann:2")], 12)
    assert [row.id for row in await ledger.rows()] == ["warm/study|/leadpulse/t|ann:1"]
    (lead,) = await ledger.claim_enrolled(50, LEASE, 10)
    assert lead.sent == ("study",)
    await ledger.take([a_content("webinar", 0)], 51)
    assert (await ledger.claim_enrolled(DAY, LEASE, 10), await ledger.next_due([])) == ([], None)
    await ledger.take([Leave("warm", "ann"), enrolled(due_ms=60)], 60)
    (lead,) = await ledger.claim_enrolled(60, LEASE, 10)
    assert lead.sent == ("study", "webinar")


async def test_a_newer_output_replaces_the_one_that_contents_are_written_from(ledger: Ledger) -> None:
    """It does not change when the next content is due, and an older one that comes late changes nothing."""
    await ledger.take([enrolled(due_ms=10, at_ms=3), enrolled(due_ms=99, at_ms=5, packed=b"\xffnewer")], 0)
    await ledger.take([enrolled(due_ms=1, at_ms=4, packed=b"late", only_if_enrolled=True)], 0)
    await ledger.take([enrolled(lead="bob", only_if_enrolled=True)], 0)
    assert await ledger.next_due([]) == 10
    (lead,) = await ledger.claim_enrolled(10, LEASE, 10)
    assert (lead.lead_id, lead.packed) == ("ann", b"\xffnewer")


async def test_a_lead_who_leaves_gets_no_more_contents(ledger: Ledger) -> None:
    """One that waits is cancelled, and one that another process chose meanwhile is not added."""
    await ledger.take([enrolled(), enrolled("hot")], 0)
    await ledger.claim_enrolled(0, LEASE, 10)
    await ledger.take([a_content("study", 50), a_content("call", 50, rule="hot")], 0)
    await ledger.take([Leave("warm", "ann"), Leave("cold", "ann")], 1)
    await ledger.take([a_content("webinar", 90)], 2)
    found = {row.id.split("|")[0]: (row.state, row.detail) for row in await ledger.rows()}
    assert found == {"warm/study": ("cancelled", "left warm"), "hot/call": ("intent", "")}
    assert [lead.rule for lead in await ledger.claim_enrolled(DAY, LEASE, 10)] == ["hot"]


async def test_a_turn_without_a_content_only_moves_the_next_one(ledger: Ledger) -> None:
    """None fits now."""
    await ledger.take([enrolled()], 0)
    await ledger.claim_enrolled(0, LEASE, 10)
    turn = a_content("", 70)
    await ledger.take([turn], 1)
    assert (await ledger.rows(), await ledger.next_due([])) == ([], 70)


# --- suppressions and mails ------------------------------------------------------------------------------------------


async def test_a_suppression_holds_until_it_is_lifted_and_only_the_first_kind_is(ledger: Ledger) -> None:
    """The strongest reason is told."""
    ann, bob = "email:ann@example.com", "email:bob@example.com"
    await ledger.take([Suppress(ann, "unsubscribed", 5), Suppress(bob, "bounced", 5), Suppress("c", "unsubscribed", 5)], 5)
    await ledger.take([Suppress(bob, "unsubscribed", 6), Suppress("c", "complained", 6)], 6)
    assert await ledger.suppressed([bob, "x", ann, "c", ann]) == {ann: "unsubscribed", bob: "bounced", "c": "complained"}
    await ledger.take([Lift(ann, 7), Lift(bob, 7)], 7)
    assert await ledger.suppressed([ann, bob, "c"]) == {bob: "bounced", "c": "complained"}
    assert await ledger.suppressed([]) == {}


async def test_the_later_of_two_wishes_counts_whichever_is_read_first(ledger: Ledger) -> None:
    """At the same instant nobody is written to."""
    await ledger.take([Lift("late", 5), Suppress("late", "unsubscribed", 4)], 9)
    await ledger.take([Suppress("early", "unsubscribed", 6), Lift("early", 5)], 9)
    await ledger.take([Suppress("same", "unsubscribed", 5), Lift("same", 5)], 9)
    await ledger.take([Lift("other", 5), Suppress("other", "unsubscribed", 5)], 9)
    assert set(await ledger.suppressed(["late", "early", "same", "other"])) == {"early", "same", "other"}


async def test_no_more_mails_a_day_than_allowed_go_to_an_address(ledger: Ledger) -> None:
    """A mail is counted once, however often it is tried: from its latest try, for it may go out then."""
    ann = "ann@example.com"
    assert [await ledger.mail_allowed(ann, id_, at, 2) for id_, at in (("a", 5), ("b", 9), ("a", 10))] == [0, 0, 0]
    assert await ledger.mail_allowed(ann, "c", 11, 2) == 9 + DAY
    assert await ledger.mail_allowed("bob@example.com", "c", 11, 2) == 0
    assert await ledger.mail_allowed(ann, "c", 8 + DAY, 2) == 9 + DAY
    assert await ledger.mail_allowed(ann, "c", 9 + DAY, 2) == 0
    assert await ledger.mail_allowed(ann, "d", 10 + DAY, 2) == 0
    assert await ledger.mail_allowed(ann, "e", 11 + DAY, 2) == 9 + 2 * DAY


# --- erasure ---------------------------------------------------------------------------------------------------------


async def test_an_erasure_reaches_states_and_nurturing_but_no_suppressed_address(ledger: Ledger) -> None:
    """An older output that is read later brings nothing back."""
    await ledger.take([a_state(5, at_ms=1), a_state(1, "bob"), enrolled(at_ms=1), enrolled(lead="bob")], 5)
    await ledger.take([Suppress("ann", "unsubscribed", 5), Suppress("email:ann@example.com", "unsubscribed", 5)], 5)
    await ledger.claim_enrolled(5, LEASE, 10)
    await ledger.take([a_content("study", 9)], 5)
    await ledger.take([EraseLead("ann", 5)], 6)
    assert await ledger.suppressed(["ann", "email:ann@example.com"]) == {"email:ann@example.com": "unsubscribed"}
    await ledger.take([a_state(4, at_ms=4), enrolled(at_ms=4), a_content("study", 9)], 7)
    assert await _sequences(ledger, DAY) == [("bob", 1)]
    assert [lead.lead_id for lead in await ledger.claim_enrolled(DAY, LEASE, 10)] == ["bob"]
    assert await ledger.rows() == []
    await ledger.finish_states("crm", [_written(5)], 7)
    await ledger.take([a_state(2, at_ms=6), enrolled(at_ms=6)], 8)
    assert await _sequences(ledger, 8) == [("ann", 2)], "what comes after the erasure counts anew"
    (lead,) = await ledger.claim_enrolled(8, LEASE, 10)
    assert lead.sent == ()


async def test_a_person_gets_a_content_by_one_act(ledger: Ledger) -> None:
    """Whatever id asks for it, and how often."""
    assert await ledger.content_allowed("email:ann@example.com", "warm/study", "a")
    assert await ledger.content_allowed("ann@example.com", "warm/study", "a")
    assert not await ledger.content_allowed("ann@example.com", "warm/study", "b")
    assert await ledger.content_allowed("ann@example.com", "warm/web", "b")
    assert await ledger.content_allowed("bob@example.com", "warm/study", "b")
    assert await ledger.contents_of("ann@example.com") == {"warm/study", "warm/web"}
    assert await ledger.contents_of("eve@example.com") == set()
    await ledger.take([EraseLead("email:ann@example.com", 5)], 6)
    assert await ledger.contents_of("ann@example.com") == set()
    assert await ledger.contents_of("bob@example.com") == {"warm/study"}


async def test_contents_of_a_lead_are_kept_for_its_other_ids(ledger: Ledger) -> None:
    """Also after it has left. An erasure forgets them."""
    await ledger.take([enrolled(at_ms=1), a_content("study", 9), a_content("web", 9), enrolled(lead="bob")], 5)
    assert (await ledger.sent("ann"), await ledger.sent("bob")) == ({"warm": ("study", "web")}, {})
    await ledger.take([Leave("warm", "ann")], 6)
    assert await ledger.sent("ann") == {"warm": ("study", "web")}
    await ledger.take([EraseLead("ann", 4)], 7)
    assert await ledger.sent("ann") == {}


async def test_an_address_that_is_a_lead_takes_no_mail_after_its_erasure(ledger: Ledger) -> None:
    """The person said so before, and nothing else of the lead stays."""
    await ledger.take([Suppress(lead, "unsubscribed", 5) for lead in ("email:ann@example.com", "ann")], 5)
    await ledger.take([Lift("email:bob@example.com", 5)], 5)
    await ledger.take([EraseLead(lead, 9) for lead in ("email:ann@example.com", "email:bob@example.com", "ann")], 9)
    await ledger.take([Suppress("email:bob@example.com", "unsubscribed", 4)], 9)
    assert await ledger.suppressed(["email:ann@example.com", "ann"]) == {"email:ann@example.com": "unsubscribed"}
    assert await ledger.suppressed(["email:bob@example.com"]) == {}


async def test_a_state_of_after_the_erasure_stays(ledger: Ledger) -> None:
    """The erasure was read late."""
    await ledger.take([a_state(5, at_ms=9), enrolled(at_ms=9), an_act("a", at_ms=9)], 9)
    await ledger.take([EraseLead("ann", 5)], 10)
    assert await _sequences(ledger, 10) == [("ann", 5)]
    assert await claimed(ledger, 10, "c1") == ["a"]
    assert await ended(ledger, "a", "c1")
    assert (await the_row(ledger, "a")).state == "done"
    assert len(await ledger.claim_enrolled(10, LEASE, 10)) == 1
