"""A visitor who becomes a lead: nothing of either is lost or counted twice, whatever comes first and whoever owns them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.grids import changed, compiled
from tests.kit.owners import END, GRID, HOUR, SCORER, START, Owners, an_event, known_as
from tests.kit.stories import Line
from worker.core.batch.plan import plan_events
from worker.core.contract.model import Event, Item
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import replay_lines
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.score import read
from worker.core.scoring.state import unpack


def replayed(lines: Iterable[Line], scorer: CompiledGrid = SCORER) -> list[dict[str, Any]]:
    """Return what a worker publishes that reads *lines* in order."""
    owners = Owners(scorer)
    for line in lines:
        owners.say(line)
        owners.let_all_arrive()
    owners.tick(START + 10 * HOUR)
    return owners.outputs


def relabelled(lines: Iterable[Line], names: dict[str, str]) -> list[str]:
    """Return *lines* as if every visitor had been known from the start."""
    return [json.dumps(line | {"subject": names.get(line["subject"], line["subject"])}) for line in lines]


def points(lines: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the points of every lead after a replay, by reason."""
    replayed = replay_lines(lines, parse_grid(GRID, "identity.yaml"), END)
    return {lead["lead_id"]: {f"{r['kind']} {r.get('id')}": r["points"] for r in lead["reasons"]} for lead in replayed.leads}


CHAINS = ({"v": "L"}, {"v": "L", "w": "L"}, {"w": "v", "v": "L"}, {"x": "w", "w": "v", "v": "L"})

happenings = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 200), st.sampled_from(["page.viewed"] * 6 + ["profile.updated", "email.complained"])
    ),
    max_size=14,
)


@examples(300)
@given(st.sampled_from(CHAINS), happenings, st.data())
def test_the_score_is_that_of_the_relabelled_log_whatever_arrives_first(
    chain: dict[str, str], happened: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    """Chains, several visitors, events before, during and after: as if the lead had done it all from the start."""
    ids = ["L", *chain]
    lines = [
        an_event(
            n, ids[who % len(ids)], hours, kind, **({"traits": {"role": ["cto", "ceo"][n % 2]}} if "profile" in kind else {})
        )
        if kind != "email.complained"
        else an_event(n, ids[who % len(ids)], hours, kind, message_id="m")
        for n, (who, hours, kind) in enumerate(happened)
    ]
    for n, (visitor, lead) in enumerate(chain.items(), start=100):
        lines.insert(data.draw(st.integers(0, len(lines))), known_as(n, lead, visitor))
    owners = Owners()
    for line in lines:
        owners.say(line)
        for _ in range(data.draw(st.integers(0, 3))):
            owners.let_one_arrive(lambda count: data.draw(st.integers(0, count - 1)))
    owners.let_all_arrive()
    expected = points(relabelled(lines, dict.fromkeys(chain, "L")))
    found = owners.alive()
    assert found.keys() == expected.keys() == {"L"}
    assert found["L"] == pytest.approx(expected["L"], abs=1e-6)
    assert points([json.dumps(line) for line in lines])["L"] == pytest.approx(expected["L"], abs=1e-6), "replay"
    ids_given = [output["id"] for output in owners.outputs]
    assert len(ids_given) == len(set(ids_given))


@examples(300)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6), st.lists(st.integers(0, 3), max_size=8), st.data()
)
def test_no_event_is_lost_or_doubled_whoever_is_said_to_be_whom(
    ties: list[tuple[int, int]], seen: list[int], data: st.DataObject
) -> None:
    """Circles, the same said twice, a visitor that two leads claim: each view counts once, for somebody."""
    ids = ["a", "b", "c", "d"]
    lines = [an_event(n, ids[who], n) for n, who in enumerate(seen)]
    for n, (lead, visitor) in enumerate(ties, start=100):
        lines.insert(data.draw(st.integers(0, len(lines))), known_as(n, ids[lead], ids[visitor], n))
    owners = Owners()
    for line in lines:
        owners.say(line)
        for _ in range(data.draw(st.integers(0, 3))):
            owners.let_one_arrive(lambda count: data.draw(st.integers(0, count - 1)))
    owners.let_all_arrive()
    assert sum(told.get("rule view", 0) for told in owners.alive().values()) == len(seen)
    replayed = points([json.dumps(line) for line in lines])
    assert sum(told.get("rule view", 0) for told in replayed.values()) == len(seen)


def test_a_visitor_ends_with_one_output_that_names_the_lead() -> None:
    """Who acted on the visitor's outputs can tell where they went; the lead's own stage and numbers go on."""
    owners = Owners()
    for number in range(4):
        owners.say(an_event(number, "v", number))
    owners.say(an_event(9, "L", 4))
    owners.say(known_as(10, "L", "v", 5))
    owners.let_all_arrive()
    last = [output for output in owners.outputs if output["subject"] == "v"][-1]
    assert (last["type"], last["data"]["from"], last["data"]["to"], last["data"]["merged_into"]) == (
        "lead.stage", "sql", "contact", "L",
    )  # fmt: skip
    assert last["data"]["cause"]["event_id"] == "e10"
    of_lead = [output for output in owners.outputs if output["subject"] == "L"]
    assert [(output["type"], output["sequence"]) for output in of_lead] == [("lead.mql", "1"), ("lead.sql", "2")]
    assert of_lead[0]["data"]["cause"]["event_id"] == "e10"
    before = len(owners.outputs)
    owners.say(an_event(11, "v", 6))
    owners.let_all_arrive()
    assert len(owners.outputs) == before
    assert owners.alive().keys() == {"L"}
    assert owners.writes["v"].due_ms is owners.writes["v"].rank is None


def test_a_blank_visitor_is_nobody() -> None:
    """The event counts, and the lead waits for no history."""
    owners = Owners(SCORER)
    owners.say(known_as(1, "L", " "))
    assert owners.on_the_way == {}
    assert unpack(owners.states["L"] or b"").links is None


def test_a_lead_that_waits_for_a_visitor_is_not_judged_by_time() -> None:
    """It would cool for want of points that are on their way; once they are here it is judged at every instant since."""
    owners = Owners()
    for number in range(4):
        owners.say(an_event(number, "L", 0))
    assert unpack(owners.states["L"] or b"").stage == 2
    for number in range(4, 8):
        owners.say(an_event(number, "v", 5))
    owners.say(known_as(10, "L", "v", 5))
    assert owners.due("L") is None
    owners.tick(START + 40 * HOUR)
    assert not [output for output in owners.outputs if output["type"] == "lead.cooled" and output["subject"] == "L"]
    owners.let_all_arrive()
    assert owners.due("L") is not None
    owners.tick(START + 400 * HOUR)
    cooled = [output["time"] for output in owners.outputs if output["type"] == "lead.cooled" and output["subject"] == "L"]
    whole = Owners()
    for line in (*(an_event(n, "L", 0) for n in range(4)), *(an_event(n, "L", 5) for n in range(4, 8))):
        whole.say(line)
    whole.say(known_as(10, "L", "L", 5))
    whole.tick(START + 400 * HOUR)
    assert cooled == [output["time"] for output in whole.outputs if output["type"] == "lead.cooled"]


def test_what_a_visitor_did_moves_the_lead_no_earlier_than_it_happened() -> None:
    """The lead was last heard of an hour before the visitor's pages, and the event that names the visitor came late."""
    lines = [
        an_event(1, "L", 0, "profile.updated", traits={}),
        *(an_event(number, "v", 1) for number in range(2, 6)),
        known_as(10, "L", "v", -5),
    ]
    told = [(output["type"], output["time"]) for output in replayed(lines) if output["subject"] == "L"]
    assert told[:2] == [("lead.mql", rfc3339(START + HOUR)), ("lead.sql", rfc3339(START + HOUR))]


def test_an_answer_that_fell_due_before_the_visitor_was_last_seen_is_told_at_its_own_instant() -> None:
    """Time passes for the lead although it was not heard of."""
    scorer = compiled(changed(GRID, {"stages.sql.sla": "30m"}), "/leadpulse/replay")
    lines = [*(an_event(n, "L", 0) for n in range(4)), an_event(20, "v", 1), known_as(21, "L", "v", 0)]
    breached = [output["time"] for output in replayed(lines, scorer) if output["type"] == "lead.sla_breached"]
    assert breached == [rfc3339(START + HOUR // 2)]


def test_the_erasure_of_an_alias_that_did_nothing_itself_is_told_at_its_instant() -> None:
    """Such an alias has no time of its own."""
    lines = [known_as(1, "L", "v"), an_event(2, "L", 3, "lead.erased")]
    erased = {output["subject"]: output["time"] for output in replayed(lines) if output["type"] == "lead.erased"}
    assert erased == dict.fromkeys(("L", "v"), rfc3339(START + 3 * HOUR))


def test_a_visitor_that_another_lead_claims_goes_over_with_what_it_does_from_then_on() -> None:
    """Points that were given are not taken back: who was right is for people to say."""
    owners = Owners()
    owners.say(an_event(1, "v", 0))
    owners.say(known_as(2, "L", "v"))
    owners.let_all_arrive()
    owners.say(known_as(3, "K", "v", 1))
    owners.let_all_arrive()
    owners.say(an_event(4, "v", 2))
    owners.let_all_arrive()
    assert sum(plan.moved for plan in owners.plans) == 1
    assert {name: told["rule view"] for name, told in owners.alive().items()} == {"L": 1, "K": 1}


@pytest.mark.parametrize("subject", ["L", "v", "w"])
def test_erasing_a_lead_or_an_alias_of_it_reaches_all_of_them(subject: str) -> None:
    """Nothing is left but marks; earlier events stay dropped, whichever id they come under."""
    owners = Owners()
    for number, name in enumerate(("L", "v", "w")):
        owners.say(an_event(number, name, 1))
    owners.say(known_as(10, "v", "w", 2))
    owners.say(known_as(11, "L", "v", 2))
    owners.let_all_arrive()
    owners.say(an_event(12, subject, 3, "lead.erased"))
    owners.let_all_arrive()
    assert owners.alive() == {}
    for name in ("L", "v", "w"):
        state = unpack(owners.states[name] or b"")
        assert (state.erased_ms, state.links, state.counts) == (START + 3 * HOUR, None, {})
    erased = sorted(output["subject"] for output in owners.outputs if output["type"] == "lead.erased")
    assert erased == ["L", "v", "w"]
    for number, name in enumerate(("L", "v", "w"), start=20):
        owners.say(an_event(number, name, 2))
    owners.let_all_arrive()
    assert owners.alive() == {}
    owners.say(an_event(30, "v", 4))
    owners.let_all_arrive()
    assert owners.alive().keys() == {"v"}, "a visitor that comes back is a new one"


def test_a_past_that_comes_after_the_erasure_is_dropped_unless_all_of_it_is_later() -> None:
    """What was done before the erasure is gone, on whatever way it was at the time."""
    for hours, left in ((1, set()), (8, {"L"})):
        owners = Owners()
        owners.say(an_event(0, "L", 0))
        owners.say(an_event(1, "v", hours))
        owners.say(known_as(2, "L", "v", 2))
        owners.let_one_arrive(lambda _: 0)  # the request; the past is on its way now
        owners.say(an_event(3, "L", 5, "lead.erased"))
        owners.let_all_arrive()
        assert owners.alive().keys() == left
        assert sum(plan.dropped for plan in owners.plans) == (not left)


def test_a_lead_is_not_its_own_visitor_and_does_not_hold_aliases_without_end() -> None:
    """Its own id says nothing; past 16 kB of ids the event is refused, as too many traits are."""
    owners = Owners()
    owners.say(known_as(0, "L", "L"))
    assert unpack(owners.states["L"] or b"").links is None
    events: list[Item] = [
        Event("L", "lead.identified", START, f"e{n}", "/s", {"anonymous_id": f"{n:04}" + "x" * 1_000}, False, "t", 0, n)
        for n in range(18)
    ]
    plan = plan_events(SCORER, {"L": None}, events, None)
    assert [(place, reason) for place, reason, _ in plan.refused] == [(16, "aliases_refused"), (17, "aliases_refused")]
    assert read(SCORER, unpack(plan.writes[0].state), START).score == 0
