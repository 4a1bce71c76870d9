"""A person whom sales were told of under an address, and who turns out to have an id: nobody is called twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.owners import GRID, HOUR, START, Owners, an_event, known_as
from worker.core.grid.models import parse_grid
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid

ADA = "email:ada@acme.example"
MORE = "identity: {email: link}\nphases: {cold: 0, hot: 12}\n"
SLA = GRID.replace("leave: 9}", "leave: 9, sla: 4h}")
LINK = CompiledGrid(parse_grid(SLA + MORE, "link.yaml"), "/leadpulse/replay")


def seen(lead: str, first: int, count: int, hours: int) -> list[dict[str, Any]]:
    """Return page views of *lead*."""
    return [an_event(number, lead, hours) for number in range(first, first + count)]


def has_address(number: int, lead: str, hours: int) -> dict[str, Any]:
    """Return the event that tells the lead's address."""
    return an_event(number, lead, hours, "profile.updated", traits={"email": "ada@acme.example"})


def said(*lines: dict[str, Any]) -> Owners:
    """Return what came of *lines*, one after the other."""
    owners = Owners(LINK)
    for line in lines:
        owners.say(line)
        owners.let_all_arrive()
    return owners


def told(owners: Owners, lead: str) -> list[tuple[str, Any, Any]]:
    """Return type, from and to of a lead's outputs."""
    outputs = [output for output in owners.outputs if output["subject"] == lead]
    return [(output["type"], output["data"].get("from"), output["data"].get("to")) for output in outputs]


@pytest.mark.parametrize("by", ["address", "lead.identified"])
def test_a_person_is_called_once(by: str) -> None:
    """The id stands where the address stood, by one `lead.stage`, and later moves start there."""
    link = has_address(10, "L", 1) if by == "address" else known_as(10, "L", ADA, 1)
    owners = said(*seen(ADA, 1, 4, 0), link, an_event(11, "L", 2, "crm.opportunity"))
    assert ("lead.sql", "mql", "sql") in told(owners, ADA)
    moves = [one for one in told(owners, "L") if one[0] != "lead.phase"]
    assert moves == [("lead.stage", "contact", "sql"), ("lead.stage", "sql", "opportunity")]
    assert told(owners, "L")[-2] == ("lead.phase", "cold", "hot")


def test_the_time_to_answer_goes_on_under_the_id() -> None:
    """A call that nobody made is late once, at the instant that `lead.sql` named."""
    owners = said(*seen(ADA, 1, 4, 0), has_address(10, "L", 1))
    owners.tick(START + 6 * HOUR)
    breached = [(one["subject"], one["time"]) for one in owners.outputs if one["type"] == "lead.sla_breached"]
    assert breached == [("L", rfc3339(START + 4 * HOUR))]


def test_an_answer_under_the_id_before_the_link_is_one() -> None:
    """It came for the person."""
    owners = said(*seen(ADA, 1, 4, 0), an_event(9, "L", 1, "crm.accepted"), has_address(10, "L", 2))
    owners.tick(START + 6 * HOUR)
    assert not [one for one in owners.outputs if one["type"] == "lead.sla_breached"]


def test_what_the_crm_said_of_the_address_holds_for_the_id() -> None:
    """A client is not called, a lost lead neither; and a contract does not go out a second time."""
    won = said(*seen(ADA, 1, 4, 0), an_event(9, ADA, 0, "crm.won"), has_address(10, "L", 1))
    assert [one for one in told(won, "L") if one[0] != "lead.phase"] == []
    assert won.held()["L"].stage == 4
    lost = said(*seen(ADA, 1, 4, 0), an_event(9, ADA, 0, "crm.lost"), has_address(10, "L", 1))
    assert [one for one in told(lost, "L") if one[0] != "lead.phase"] == []


def test_what_the_crm_said_of_the_id_goes_first() -> None:
    """A loss closes the ladder, whatever the address had reached."""
    owners = said(*seen(ADA, 1, 4, 0), an_event(9, "L", 1, "crm.rejected"), has_address(10, "L", 1))
    assert [one for one in told(owners, "L") if one[0] in ("lead.sql", "lead.stage")] == []


def test_an_anonymous_visitor_was_never_called() -> None:
    """So its lead is."""
    owners = said(*seen("v", 1, 4, 0), known_as(10, "L", "v", 1))
    assert [one[0] for one in told(owners, "L") if one[0] != "lead.phase"] == ["lead.mql", "lead.sql"]


@examples(100)
@given(st.lists(st.sampled_from(["L", ADA]), min_size=4, max_size=10), st.integers(0, 10), st.data())
def test_whatever_comes_first_a_person_is_called_once(views: list[str], place: int, data: st.DataObject) -> None:
    """By one id or the other: `lead.sql` of the id comes only if none of the address came before."""
    lines = [an_event(number, lead, number) for number, lead in enumerate(views)]
    lines.insert(min(place, len(lines)), has_address(50, "L", place))
    owners = Owners(LINK)
    for line in lines:
        owners.say(line)
        owners.let_some_arrive(data)
    owners.let_the_rest_arrive(data)
    called, cooled = list[str](), set[str]()
    for one in owners.outputs:
        if one["type"] == "lead.cooled":
            cooled.add(one["subject"])  # without a quiet time, a lead that cooled may be called anew
        elif one["type"] == "lead.sql" and one["subject"] not in cooled:
            called.append(one["subject"])
    assert called in ([], ["L"], [ADA]) or (views.count("L") >= 3 and views.count(ADA) >= 3), called
