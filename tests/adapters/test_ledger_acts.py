"""Acts in every kind of ledger: one effect each, in the order of their lead, whatever is repeated or lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.ledgers import HOUR, LEASE, an_act, claimed, ended, the_row
from worker.automation_ports import AFTER_ALL, AddAct, Cancel, EraseLead, Ledger, Op, Outcome

DAY = 24 * HOUR


async def test_an_act_is_written_down_once(ledger: Ledger) -> None:
    """Whoever takes the same records again after a crash adds nothing, also after the act has ended."""
    act = an_act("call|/s|ann:1", packed=bytes(range(256)))
    for _ in range(2):
        await ledger.take([act], 5, {"lead.sql": 7})
    assert await claimed(ledger, 5, "c1") == ["call|/s|ann:1"]
    assert await ended(ledger, "call|/s|ann:1", "c1", now_ms=6, remote_id="42")
    await ledger.take([act], 7, {"lead.sql": 7})
    row = await the_row(ledger, "call|/s|ann:1")
    assert (row.state, row.remote_id, row.attempts, row.created_ms, row.updated_ms) == ("done", "42", 1, 5, 6)
    assert row.packed == bytes(range(256))
    assert await claimed(ledger, DAY, "c2") == []


async def test_the_position_never_moves_back(ledger: Ledger) -> None:
    """A call that was lost may arrive after those that followed it. Names that it leaves out stay."""
    assert await ledger.position() == {}
    await ledger.take([], 1, {"lead.sql": 7, "begun": 3})
    await ledger.take([], 1, {"lead.sql": 5, "lead.mql": 123_456_789_012_345_678})
    assert await ledger.position() == {"lead.sql": 7, "begun": 3, "lead.mql": 123_456_789_012_345_678}
    await ledger.take([], 2, {"lead.sql": 1}, again=True)
    assert await ledger.position() == {"lead.sql": 1, "begun": 3, "lead.mql": 123_456_789_012_345_678}


async def test_acts_of_a_lead_at_a_target_keep_the_order_of_their_outputs(ledger: Ledger) -> None:
    """Other leads and other targets do not wait for them."""
    await ledger.take([an_act("b", at_ms=2, due_ms=0), an_act("c", at_ms=2, due_ms=0), an_act("a", at_ms=1, due_ms=0)], 3)
    await ledger.take([an_act("bob", "bob", at_ms=9), an_act("mail", target="mail", at_ms=9)], 3)
    assert await claimed(ledger, 10, "c1") == ["a", "bob"]
    assert await claimed(ledger, 10, "c2") == []
    assert await claimed(ledger, 10, "c3", "mail") == ["mail"]
    await ended(ledger, "a", "c1", "retry", due_ms=500)
    assert await claimed(ledger, 499, "c4") == [], "those behind it wait too"
    assert await claimed(ledger, 500, "c5") == ["a"]
    await ended(ledger, "a", "c5")
    assert await claimed(ledger, 500, "c6") == ["b"]
    await ended(ledger, "b", "c6", "dead", detail="refused")
    assert await claimed(ledger, 500, "c7") == ["c"]


async def test_an_older_output_that_comes_late_goes_first_but_never_beside_another(ledger: Ledger) -> None:
    """Topics are read beside each other, so an older output may come after a younger one."""
    await ledger.take([an_act("young", at_ms=5)], 5)
    assert await claimed(ledger, 5, "c1") == ["young"]
    await ledger.take([an_act("old", at_ms=1)], 6)
    assert await claimed(ledger, 6, "c2") == []
    await ended(ledger, "young", "c1", "retry", due_ms=HOUR)
    assert await claimed(ledger, 6, "c3") == ["old"]
    await ended(ledger, "old", "c3")
    assert await claimed(ledger, 6, "c4") == []
    await ledger.take([an_act("older", at_ms=0)], 7)
    assert await claimed(ledger, 7, "c5") == ["older"], "what waits for a retry does not hold it back"


async def test_no_more_acts_are_leased_than_asked_for(ledger: Ledger) -> None:
    """Those that have waited longest go first."""
    await ledger.take([an_act(str(n), f"lead{n}", at_ms=9 - n) for n in range(9)], 9)
    assert await claimed(ledger, 9, "c1", most=2) == ["8", "7"]
    assert await claimed(ledger, 3, "c2", most=2) == ["6"]


async def test_a_lease_ends_and_the_act_is_offered_again(ledger: Ledger) -> None:
    """A safe step needs no care. The dead process's calls have no effect any more."""
    await ledger.take([an_act("a")], 0)
    assert await claimed(ledger, 0, "c1") == ["a"]
    assert await claimed(ledger, LEASE - 1, "c2") == []
    (row,) = await ledger.claim("crm", LEASE, LEASE, 10, "c3")
    assert (row.id, row.attempts, row.unsure, row.call) == ("a", 2, "", "c3")
    assert not await ledger.begin("a", "c1", "task", 2 * LEASE)
    assert not await ledger.remember("a", "c1", "contact", "1")
    assert not await ended(ledger, "a", "c1", "dead")
    assert await ended(ledger, "a", "c3", "retry", now_ms=LEASE, due_ms=LEASE + 1)


async def test_an_unsafe_step_without_an_answer_makes_the_next_attempt_unsure(ledger: Ledger) -> None:
    """What was remembered before is known to it."""
    await ledger.take([an_act("a")], 0)
    await claimed(ledger, 0, "c1")
    assert await ledger.begin("a", "c1", "contact", LEASE)
    assert await ledger.remember("a", "c1", "contact", "17")
    assert await ledger.begin("a", "c1", "task", 2 * LEASE), "a step may lengthen the lease"
    assert await claimed(ledger, LEASE, "c2") == []
    (row,) = await ledger.claim("crm", 2 * LEASE, LEASE, 10, "c3")
    assert (row.unsure, row.known) == ("task", {"contact": "17"})
    # it dies as well, before it has looked anything up
    (row,) = await ledger.claim("crm", 3 * LEASE, LEASE, 10, "c4")
    assert row.unsure == "task"
    assert await ended(ledger, "a", "c4", "retry", now_ms=3 * LEASE, due_ms=3 * LEASE)
    (row,) = await ledger.claim("crm", 3 * LEASE, LEASE, 10, "c5")
    assert row.unsure == "", "it was looked up"


async def test_a_step_with_its_answer_is_not_unsure(ledger: Ledger) -> None:
    """The crash comes after the answer was remembered."""
    await ledger.take([an_act("a")], 0)
    await claimed(ledger, 0, "c1")
    await ledger.begin("a", "c1", "contact", LEASE)
    await ledger.remember("a", "c1", "contact", "17")
    (row,) = await ledger.claim("crm", LEASE, LEASE, 10, "c2")
    assert (row.unsure, row.known) == ("", {"contact": "17"})


async def test_an_outcome_tells_the_next_attempt_what_was_lost(ledger: Ledger) -> None:
    """An answer that did not come is no crash."""
    await ledger.take([an_act("a")], 0)
    await claimed(ledger, 0, "c1")
    await ledger.begin("a", "c1", "task", LEASE)
    assert await ledger.finish("a", "c1", Outcome("retry", "no answer", due_ms=9, unsure="task"), 3)
    row = await the_row(ledger, "a")
    assert (row.state, row.detail, row.due_ms, row.unsure, row.updated_ms, row.call) == ("retry", "no answer", 9, "task", 3, "")
    (row,) = await ledger.claim("crm", 9, LEASE, 10, "c2")
    assert row.unsure == "task"


async def test_an_end_that_is_repeated_is_ours_and_changes_nothing(ledger: Ledger) -> None:
    """The answer to the first call was lost."""
    await ledger.take([an_act("a"), an_act("b")], 0)
    await claimed(ledger, 0, "c1")
    for state, at_ms in (("retry", 3), ("dead", 4)):
        assert await ended(ledger, "a", "c1", state, now_ms=at_ms, due_ms=3)
    assert (await the_row(ledger, "a")).state == "retry"
    await claimed(ledger, 3, "c2")
    for at_ms in (4, 5):
        assert await ended(ledger, "a", "c2", "done", now_ms=at_ms, remote_id="1")
    assert (await the_row(ledger, "a")).updated_ms == 4
    assert len(await ledger.acted(10)) == 1


@pytest.mark.parametrize("state", ["unknown", "cancelled", "retry"])
async def test_a_late_done_is_believed(ledger: Ledger, state: str) -> None:
    """The attempt lost its lease in mid-call, and the target has done it. That is the truth, whatever was concluded since."""
    await ledger.take([an_act("a"), an_act("next", at_ms=1)], 0)
    await claimed(ledger, 0, "c1")
    await ledger.begin("a", "c1", "task", LEASE)
    await claimed(ledger, LEASE, "c2")
    await ended(ledger, "a", "c2", state, now_ms=LEASE, due_ms=2 * LEASE)
    assert await ended(ledger, "a", "c1", "done", now_ms=LEASE + 1, remote_id="9")
    row = await the_row(ledger, "a")
    assert (row.state, row.remote_id, row.unsure, row.due_ms) == ("done", "9", "", 0)
    assert await claimed(ledger, 2 * LEASE, "c3") == ["next"]


async def test_a_late_done_stops_the_attempt_that_looks_it_up(ledger: Ledger) -> None:
    """Its unsafe step does not begin."""
    await ledger.take([an_act("a")], 0)
    await claimed(ledger, 0, "c1")
    await ledger.begin("a", "c1", "task", LEASE)
    assert await claimed(ledger, LEASE, "c2") == ["a"]
    assert await ended(ledger, "a", "c1", "done", now_ms=LEASE + 1)
    assert not await ledger.begin("a", "c2", "task", 3 * LEASE)
    assert not await ended(ledger, "a", "c2", "dead", now_ms=LEASE + 2)
    assert (await the_row(ledger, "a")).state == "done"


async def test_an_act_that_is_put_back_was_not_tried(ledger: Ledger) -> None:
    """Such as one for which the budget has no room."""
    await ledger.take([an_act("a")], 0)
    await claimed(ledger, 0, "c1")
    assert await ended(ledger, "a", "c1", "intent", due_ms=50)
    row = await the_row(ledger, "a")
    assert (row.state, row.attempts, row.due_ms) == ("intent", 0, 50)
    assert await claimed(ledger, 49, "c2") == []
    assert await claimed(ledger, 50, "c3") == ["a"]


async def test_an_act_that_cannot_be_written_is_dead_at_once(ledger: Ledger) -> None:
    """It is told like any other end."""
    await ledger.take([an_act("a", dead="traits.email is missing"), an_act("b", at_ms=1)], 4)
    row = await the_row(ledger, "a")
    assert (row.state, row.detail, row.attempts, row.due_ms) == ("dead", "traits.email is missing", 0, 0)
    assert [acted.row.id for acted in await ledger.acted(9)] == ["a"]
    assert await claimed(ledger, 4, "c1") == ["b"]


# --- cancelling ------------------------------------------------------------------------------------------------------


def _call(id_: str, at_ms: int, **fields: Any) -> AddAct:
    return an_act(id_, at_ms=at_ms, unless=("lead.cooled", "crm.accepted"), **fields)


async def test_an_event_cancels_what_waits_and_is_not_younger(ledger: Ledger) -> None:
    """Only acts whose rule names its type, and only those of that lead."""
    await ledger.take([_call("old", 1), _call("young", 9), an_act("other", at_ms=1), _call("bob", 1, lead="bob")], 9)
    await ledger.take([Cancel("ann", "lead.cooled", 5), Cancel("ann", "lead.won", 9)], 10)
    found = {row.id: (row.state, row.detail) for row in await ledger.rows()}
    assert found == {
        "old": ("cancelled", "lead.cooled"), "young": ("intent", ""), "other": ("intent", ""), "bob": ("intent", ""),
    }  # fmt: skip
    assert await claimed(ledger, 10, "c1") == ["other", "bob"]


async def test_an_event_that_is_read_first_cancels_older_acts_that_come(ledger: Ledger) -> None:
    """Its topic may be read before theirs."""
    await ledger.take([Cancel("ann", "lead.cooled", 5)], 6)
    await ledger.take([Cancel("ann", "lead.cooled", 3)], 6)
    await ledger.take([_call("old", 4), _call("same", 5), _call("young", 6)], 7)
    assert [(await the_row(ledger, id_)).state for id_ in ("old", "same", "young")] == ["cancelled", "cancelled", "intent"]
    week = 6 + 7 * DAY
    await ledger.take([an_act("x", "x")], week + 1)
    await ledger.take([_call("later", 4)], week + 1)
    assert (await the_row(ledger, "later")).state == "intent"


@pytest.mark.parametrize("first", [True, False], ids=["the event is read first", "the act is read first"])
@pytest.mark.parametrize(
    ("at_ms", "sequence", "state"),
    [
        (5, AFTER_ALL, "cancelled"),  # an event that comes in, of the same millisecond
        (5, 8, "cancelled"),  # the lead's next output
        (5, 7, "intent"),  # its own output
        (5, 6, "intent"),  # the one before
        (4, AFTER_ALL, "intent"),
        (6, 1, "cancelled"),
    ],
)
async def test_within_a_millisecond_the_sequence_decides(
    ledger: Ledger, first: bool, at_ms: int, sequence: int, state: str
) -> None:
    """Not the order in which the two are read, nor how often."""
    cancel: Op = Cancel("ann", "lead.cooled", at_ms, sequence)
    act: Op = _call("a", 5, sequence=7)
    for ops in ([cancel, act] if first else [act, cancel], [cancel, act]):
        await ledger.take(ops, 9)
        assert (await the_row(ledger, "a")).state == state


async def test_a_cancelled_attempt_does_not_begin_its_next_step(ledger: Ledger) -> None:
    """A safe step may still be on its way. The act ends when its lease does, and those behind it go on."""
    await ledger.take([_call("a", 0), an_act("b", at_ms=1)], 0)
    await claimed(ledger, 0, "c1")
    await ledger.take([Cancel("ann", "lead.cooled", 5)], 6)
    assert (await the_row(ledger, "a")).state == "intent"
    assert not await ledger.begin("a", "c1", "task", LEASE)
    assert await claimed(ledger, LEASE, "c2") == ["b"]
    assert (await the_row(ledger, "a")).state == "cancelled"


@pytest.mark.parametrize(
    ("state", "unsure", "after"),
    [
        ("retry", "", "cancelled"),
        ("intent", "", "cancelled"),
        ("retry", "task", "unknown"),
        ("done", "", "done"),
        ("dead", "", "dead"),
    ],
)
async def test_an_attempt_that_ends_after_its_cancellation(ledger: Ledger, state: str, unsure: str, after: str) -> None:
    """A lost answer stays a lost answer."""
    await ledger.take([_call("a", 0)], 0)
    await claimed(ledger, 0, "c1")
    await ledger.begin("a", "c1", "task", LEASE)
    await ledger.take([Cancel("ann", "lead.cooled", 5)], 6)
    assert await ended(ledger, "a", "c1", state, now_ms=7, due_ms=8, unsure=unsure)
    assert (await the_row(ledger, "a")).state == after
    assert await claimed(ledger, DAY, "c2") == []


async def test_what_may_have_been_done_is_not_cancelled_silently(ledger: Ledger) -> None:
    """Its lease ended within an unsafe step, so a person decides."""
    await ledger.take([_call("crashed", 0), _call("lost", 0, lead="bob")], 0)
    await claimed(ledger, 0, "c1")
    for id_ in ("crashed", "lost"):
        await ledger.begin(id_, "c1", "task", LEASE)
    await ended(ledger, "lost", "c1", "retry", unsure="task", due_ms=LEASE)
    await ledger.take([Cancel("ann", "lead.cooled", 5), Cancel("bob", "lead.cooled", 5)], LEASE)
    for id_ in ("crashed", "lost"):
        row = await the_row(ledger, id_)
        assert (row.state, row.unsure, row.detail) == ("unknown", "task", "lead.cooled")


# --- a ledger that went back, an erasure, a person's decision ------------------------------------------------------


async def test_a_ledger_that_went_back_trusts_nothing_that_waits(ledger: Ledger) -> None:
    """A running attempt may not begin a step, and its lease holds: its request may be on its way."""
    await ledger.take([an_act("waits"), an_act("calls", "bob"), an_act("ended", "cat")], 0)
    assert await claimed(ledger, 0, "c1") == ["waits", "calls", "ended"]
    await ended(ledger, "waits", "c1", "retry", due_ms=10)
    await ended(ledger, "ended", "c1", "dead")
    await ledger.distrust()
    assert not await ledger.begin("calls", "c1", "task", LEASE)
    found = await ledger.claim("crm", 10, LEASE, 10, "c2")
    assert [(row.id, row.unsure) for row in found] == [("waits", "*")]
    found = await ledger.claim("crm", LEASE, LEASE, 10, "c3")
    assert [(row.id, row.unsure) for row in found] == [("calls", "*")]
    assert (await the_row(ledger, "ended")).unsure == ""


async def test_an_act_is_added_as_unsure(ledger: Ledger) -> None:
    """It was read again after the ledger went back."""
    await ledger.take([an_act("a", unsure=True)], 0)
    (row,) = await ledger.claim("crm", 0, LEASE, 10, "c1")
    assert row.unsure == "*"


async def test_an_erasure_spares_what_deletes_the_person_elsewhere(ledger: Ledger) -> None:
    """Its output is as old as the erasure. A person's command erases once more, without the output's sequence."""
    forget = an_act("forget/crm", at_ms=5, sequence=8)
    await ledger.take([an_act("old", at_ms=5, sequence=7), EraseLead("ann", 5, 8), forget], 9)
    await ledger.take([EraseLead("ann", 5)], 10)
    await ledger.take([an_act("older", at_ms=5, sequence=7), an_act("newer", at_ms=5, sequence=9)], 11)
    assert {row.id for row in await ledger.rows()} == {"forget/crm", "newer"}


async def test_an_erasure_goes_by_the_time_of_the_output(ledger: Ledger) -> None:
    """A content became due after the erasure, and before that was read."""
    await ledger.take([an_act("content", at_ms=9, output_ms=4), EraseLead("ann", 5, 8)], 9)
    await ledger.take([an_act("another", at_ms=9, output_ms=4)], 9)
    assert await ledger.rows() == []


async def test_an_erasure_forgets_the_lead_and_all_that_is_older(ledger: Ledger) -> None:
    """A call in progress ends without a trace. What the lead does afterwards counts."""
    await ledger.take([an_act("a", at_ms=1), an_act("b", at_ms=2), an_act("bob", "bob"), an_act("new", at_ms=9)], 9)
    await claimed(ledger, 9, "c1")
    await ended(ledger, "bob", "c1")
    await ledger.take([EraseLead("ann", 5)], 10)
    assert [row.id for row in await ledger.rows()] == ["bob", "new"]
    assert not await ledger.begin("a", "c1", "task", LEASE)
    assert not await ended(ledger, "a", "c1", "done")
    assert [acted.row.id for acted in await ledger.acted(9)] == ["bob"]
    await ledger.take([an_act("a", at_ms=1), an_act("forget", at_ms=5)], 11)
    assert [row.id for row in await ledger.rows(lead_id="ann")] == ["new", "forget"]
    assert await claimed(ledger, 11, "c2") == ["forget"]


async def test_a_person_decides(ledger: Ledger) -> None:
    """What is tried again is not unsure, and neither old age nor the rule's limit holds it back."""
    await ledger.take([an_act("a"), an_act("b", "bob"), an_act("c", "cat")], 0)
    await claimed(ledger, 0, "c1")
    assert not await ledger.decide("a", "done", "", 1), "it is in a call"
    assert not await ledger.decide("x", "done", "", 1)
    for id_ in "abc":
        await ledger.begin(id_, "c1", "task", LEASE)
        await ended(ledger, id_, "c1", "unknown", now_ms=1, unsure="task")
    assert (await the_row(ledger, "a")).unsure == "task"
    assert await ledger.decide("a", "intent", "not found there", 2)
    assert await ledger.decide("b", "done", "seen there", 2)
    assert not await ledger.decide("b", "intent", "", 3), "it is done"
    assert await ledger.decide("c", "dead", "given up", 2)
    (row,) = await ledger.claim("crm", 2, LEASE, 10, "c2")
    assert (row.id, row.unsure, row.decided, row.attempts) == ("a", "", True, 2)
    assert [(row.id, row.state, row.detail) for row in await ledger.rows(["done", "dead"])] == [
        ("b", "done", "seen there"), ("c", "dead", "given up"),
    ]  # fmt: skip


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_ends_are_told_until_they_are_published(ledger: Ledger) -> None:
    """An act that ends a second time is told a second time, and one that is tried again is not told."""
    await ledger.take([an_act(id_, id_) for id_ in ("a", "b", "c")], 0)
    await claimed(ledger, 0, "c1")
    await ended(ledger, "b", "c1", "unknown")
    await ended(ledger, "a", "c1", "held")
    first = await ledger.acted(1)
    assert [(acted.row.id, acted.row.state) for acted in first] == [("b", "unknown")]
    await ledger.decide("b", "done", "", 3)
    await ledger.decide("a", "intent", "", 3)
    await ledger.published([acted.key for acted in first])
    assert [(acted.row.id, acted.row.state) for acted in await ledger.acted(9)] == [("b", "done")]
    await ledger.published([acted.key for acted in await ledger.acted(9)])
    assert await ledger.acted(9) == []
    await ledger.published([])


async def test_figures_and_the_next_due_act(ledger: Ledger) -> None:
    """The process sleeps until then."""
    assert (await ledger.next_due(["crm"]), await ledger.figures()) == (None, {})
    await ledger.take([an_act("a", due_ms=50), an_act("b", "bob", due_ms=70), an_act("m", target="mail", due_ms=10)], 5)
    assert await ledger.next_due(["crm"]) == 50
    assert await ledger.next_due(["crm", "mail"]) == 10
    assert await ledger.next_due([]) is None
    await claimed(ledger, 60, "c1")
    assert await ledger.next_due(["crm"]) == 70
    await ended(ledger, "a", "c1")
    await ledger.take([an_act("c", "cat", due_ms=1)], 6)
    assert await ledger.figures() == {"crm": {"done": 1, "intent": 2, "oldest_ms": 5}, "mail": {"intent": 1, "oldest_ms": 5}}


async def test_rows_are_listed_by_state_target_and_lead(ledger: Ledger) -> None:
    """The oldest come first."""
    for n in range(6):
        await ledger.take([an_act(f"a{n}", "ann" if n % 2 else "bob", "crm" if n < 4 else "mail")], 10 - n)
    await claimed(ledger, 9, "c1")
    await ended(ledger, "a0", "c1", "dead")
    assert [row.id for row in await ledger.rows()] == ["a5", "a4", "a3", "a2", "a1", "a0"]
    assert [row.id for row in await ledger.rows(["dead"])] == ["a0"]
    assert [row.id for row in await ledger.rows(target="mail")] == ["a5", "a4"]
    assert [row.id for row in await ledger.rows(lead_id="ann", target="crm")] == ["a3", "a1"]
    assert [row.id for row in await ledger.rows(["intent", "dead"], lead_id="bob")] == ["a4", "a2", "a0"]
    assert await ledger.rows(lead_id="cat") == []


async def test_ends_are_forgotten_after_90_days_unless_a_person_must_decide(ledger: Ledger) -> None:
    """Nothing else would bound the ledger."""
    states = ("done", "dead", "cancelled", "stale", "unknown", "held")
    await ledger.take([an_act(state, state) for state in states], 0)
    await claimed(ledger, 0, "c1")
    for state in states:
        await ended(ledger, state, "c1", state, now_ms=1)
    await ledger.take([], 1 + 90 * DAY)
    assert len(await ledger.rows()) == 6
    await claimed(ledger, 2 + 90 * DAY, "c2")
    assert [row.id for row in await ledger.rows()] == ["held", "unknown"]
    assert {acted.row.id for acted in await ledger.acted(9)} == {"held", "unknown"}


async def test_what_came_after_an_instant_is_known_of_each_lead(ledger: Ledger) -> None:
    """Another id of the person asks for it."""
    await ledger.take([Cancel("ann", "crm.won", 5), Cancel("ann", "lead.cooled", 9, 3), Cancel("bob", "crm.lost", 9)], 9)
    asked = [("ann", 4), ("ann", 5), ("ann", 9), ("bob", 4), ("eve", 0)]
    found = [await ledger.cancelled(lead, ("lead.cooled", "crm.won"), at_ms) for lead, at_ms in asked]
    assert found == ["crm.won", "lead.cooled", "", "", ""]
