"""What ids know of each other agrees on both sides, whatever was said late, taken back or on its way meanwhile."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.owners import GRID, HOUR, START, Owners, an_event, known_as
from worker.core.batch.plan import Plan
from worker.core.contract.model import Item
from worker.core.grid.models import parse_grid
from worker.core.identity.messages import who
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import IdentityLinks, LeadState

IDS = ("lead-alpha", "lead-bravo", "lead-charlie", "lead-delta")
ADDRESSES = ("a@acme.example", "b@acme.example")
GRIDS = [
    CompiledGrid(parse_grid(GRID + more + kept, "kin.yaml"), "/leadpulse/replay")
    for more in ("", "identity: {email: report}\n", "identity: {email: link}\n")
    for kept in ("", "retention: 30d\n")
]
LINK = GRIDS[4]


class Journals(Owners):
    """Each id with a journal, as partitions have: what a batch says to others goes out at once, and whenever it is let."""

    def __init__(self, scorer: CompiledGrid = LINK) -> None:
        super().__init__(scorer)
        self.outboxes: dict[str, deque[list[Item]]] = {}
        self.journals: dict[str, deque[Item]] = {}

    def let_one_arrive(self, choose: Callable[[int], int]) -> bool:
        """Publish the first batch that waits somewhere, or let some id read the first record of its journal."""
        waiting: list[tuple[bool, str]] = [(True, name) for name, batches in sorted(self.outboxes.items()) if batches]
        waiting += [(False, name) for name, items in sorted(self.journals.items()) if items]
        if not waiting:
            return False
        published, name = waiting[choose(len(waiting))]
        if not published:
            self._take(self.journals[name].popleft())
            return True
        for item in self.outboxes[name].popleft():
            self.journals.setdefault(item.lead, deque()).append(item)
        return True

    def _keep(self, name: str, plan: Plan) -> None:
        for write in plan.writes:
            self.states[write.lead] = write.state or None
            self.writes[write.lead] = write
        self.outputs += [json.loads(output.value or b"") for output in plan.outputs]
        if plan.passed_on:
            self.outboxes.setdefault(name, deque()).append([item for _, item in plan.passed_on])


def disagreements(owners: Owners) -> list[str]:
    """Return where two ids say different things of what ties them."""
    states = owners.held()
    found = [f"{name} waits for ever" for name, state in states.items() if state.links is not None and state.links.awaiting]
    for name, state in states.items():
        if state.links is not None:
            found += about_aliases(states, name, state.links)
            found += about_addresses(owners.scorer, states, name, state.links)
        elif not state.alive and state.erased_ms:
            found += [f"{other} knows {name}" for other in owners.who_know(name)]
    return found


def about_aliases(states: Mapping[str, LeadState], name: str, links: IdentityLinks) -> Iterator[str]:
    """Yield where an alias and its lead do not name each other."""
    lead = states.get(links.alias_of)
    if links.alias_of and (lead is None or lead.links is None or name not in lead.links.aliases):
        yield f"{name} is an alias of {links.alias_of}, which does not list it: its erasure would not reach it"
    for alias in links.aliases:
        held = states.get(alias)
        if held is None or held.links is None or held.links.alias_of != name:
            yield f"{name} lists {alias}, which is no alias of it"


def about_addresses(scorer: CompiledGrid, states: Mapping[str, LeadState], name: str, links: IdentityLinks) -> Iterator[str]:
    """Yield who is listed under an address that is not theirs, and whether a lead lacks the address that it alone has."""
    for holder in links.address_holders:
        if holder not in states or not states[holder].alive or who(scorer, states[holder])[0] != name:
            yield f"{holder} is said to have {name}"
    if scorer.grid.identity is None or scorer.grid.identity.email != "link" or states[name].erased_ms:
        return
    if len(links.address_holders) == 1 and links.address_holders != (name,) and not links.alias_of:
        yield f"{name} is nobody's, though {links.address_holders[0]} alone has it"


said = st.lists(
    st.tuples(
        st.sampled_from(
            ["view"] * 3 + ["identified"] * 5 + ["email"] * 3 + ["mail", "erased", "erased", "address erased", "machine"]
        ),
        st.sampled_from(IDS),
        st.sampled_from(IDS),
        st.sampled_from(ADDRESSES),
        st.integers(0, 20),
    ),
    max_size=16,
)


def line_of(number: int, kind: str, one: str, other: str, address: str, hours: int) -> dict[str, Any]:
    """Return one of `said` as an event."""
    match kind:
        case "identified":
            return known_as(number, one, other if number % 4 else f"email:{address}", hours * 100)
        case "email" | "machine":
            traits = {"email": address if number % 3 else None}
            return an_event(number, one, hours * 100, "profile.updated", traits=traits, machine=kind == "machine")
        case "erased" | "address erased":
            return an_event(number, one if kind == "erased" else f"email:{address}", hours * 100, "lead.erased")
        case _:
            return an_event(number, one if kind == "view" else f"email:{address}", hours * 100)


@examples(500)
@given(said, st.sampled_from(GRIDS), st.data())
def test_both_sides_of_every_tie_agree_whatever_came_late(
    done: list[tuple[str, str, str, str, int]], scorer: CompiledGrid, data: st.DataObject
) -> None:
    """Erasures and identifications that come after later ones, addresses that change hands, leads that time removes."""
    owners = Journals(scorer)

    def choose(count: int) -> int:
        return data.draw(st.integers(0, count - 1))

    for number, one in enumerate(done):
        owners.say(line_of(number, *one))
        for _ in range(data.draw(st.sampled_from([0, 0, 1, 3, 30]))):
            owners.let_one_arrive(choose)
    while owners.let_one_arrive(choose):
        pass
    assert disagreements(owners) == []
    for days in (100, 200):
        owners.tick(START + days * 24 * HOUR)
        while owners.let_one_arrive(choose):
            pass
        assert disagreements(owners) == []


def after(*lines: dict[str, Any]) -> Journals:
    """Return the owners once each of *lines* was taken to its end."""
    owners = Journals()
    for line in lines:
        owners.say(line)
        owners.let_all_arrive()
    assert disagreements(owners) == []
    return owners


def counted(owners: Owners) -> dict[str, float]:
    """Return how many page views each lead has."""
    return {name: told["rule view"] for name, told in owners.alive().items() if "rule view" in told}


def emailed(number: int, lead: str, hours: int, email: str | None, **more: Any) -> dict[str, Any]:
    """Return the event that tells a lead's address."""
    return an_event(number, lead, hours, "profile.updated", traits={"email": email}, **more)


def test_an_erasure_that_comes_late_leaves_no_alias_that_the_next_one_would_not_reach() -> None:
    """The alias was told after the instant of the first erasure, so it stays one; the lead must know that it is."""
    owners = after(known_as(1, "L", "v", 10), an_event(2, "L", 5, "lead.erased"), an_event(3, "v", 11))
    assert counted(owners) == {"L": 1}
    owners.say(an_event(4, "L", 20, "lead.erased"))
    owners.let_all_arrive()
    assert {name: (state.erased_ms, state.links) for name, state in owners.held().items()} == dict.fromkeys(
        ("L", "v"), (START + 20 * HOUR, None)
    )


def test_an_erasure_of_an_alias_that_comes_late_leaves_it_one() -> None:
    """As if it had come in time: erased first, then told whose it is."""
    lines = [an_event(1, "v", 1), an_event(2, "v", 5, "lead.erased"), known_as(3, "L", "v", 10)]
    in_time, late = after(*lines), after(lines[0], lines[2], lines[1])
    for owners in (in_time, late):
        assert [output["subject"] for output in owners.outputs if output["type"] == "lead.erased"][:1] == ["v"]
        owners.say(an_event(4, "v", 4))
        owners.say(an_event(5, "v", 11))
        owners.let_all_arrive()
        assert counted(owners) == {"L": 1}


def test_an_identification_older_than_the_visitors_erasure_does_not_undo_a_newer_one() -> None:
    """The same lead said it twice; the older of the two came last."""
    owners = after(
        an_event(1, "v", 5, "lead.erased"),
        known_as(2, "L", "v", 10),
        known_as(3, "L", "v", 4),
        an_event(4, "L", 20, "lead.erased"),
    )
    assert {state.erased_ms for state in owners.held().values()} == {START + 20 * HOUR}


@pytest.mark.parametrize("machine", [False, True])
def test_traits_from_before_an_erasure_do_not_come_back_with_a_visitor(machine: bool) -> None:
    """A machine's are not among the last events, by which a past is told to be newer than an erasure."""
    owners = after(
        an_event(1, "L", 5, "lead.erased"),
        emailed(2, "v", 1, "ada@acme.example", machine=machine),
        an_event(3, "v", 8),
        known_as(4, "L", "v", 9),
    )
    assert b"ada@" not in (owners.states["L"] or b"")


def test_an_address_that_came_with_a_visitor_changes_hands_with_the_leads_trait() -> None:
    """It was linked to the visitor, which is the lead now; whoever has the address next gets what is mailed to it."""
    lines = [emailed(1, "v", 1, "ada@acme.example"), known_as(2, "L", "v", 2), an_event(3, "email:ada@acme.example", 3)]
    assert counted(after(*lines)) == {"L": 1}
    lines += [emailed(4, "L", 4, "ada@other.example"), an_event(5, "email:ada@acme.example", 5)]
    assert counted(after(*lines)) == {"L": 1, "email:ada@acme.example": 1}
    lines += [emailed(6, "K", 6, "ada@acme.example"), an_event(7, "email:ada@acme.example", 7)]
    owners = after(*lines)
    assert counted(owners) == {"L": 1, "K": 2}
    assert not [output for output in owners.outputs if output["type"] == "lead.duplicate"]


@pytest.mark.parametrize("how", ["changed", "erased"])
def test_an_address_that_two_leads_had_is_that_of_the_one_who_keeps_it(how: str) -> None:
    """What was nobody's, or the other's, is the last one's from then on."""
    gone = emailed(3, "K", 3, "new@acme.example") if how == "changed" else an_event(3, "K", 3, "lead.erased")
    owners = after(
        emailed(1, "K", 1, "info@acme.example"),
        emailed(2, "L", 2, "info@acme.example"),
        gone,
        an_event(4, "email:info@acme.example", 4),
    )
    assert counted(owners) == {"L": 1}


def test_an_address_is_offered_again_where_the_lead_that_was_said_to_own_it_is_removed() -> None:
    """Time removes the one; the other has had the address all along."""
    owners = Journals(GRIDS[5])
    for line in (emailed(1, "L", 0, "a@acme.example"), known_as(2, "K", "email:a@acme.example", 0), an_event(3, "L", 24 * 29)):
        owners.say(line)
        owners.let_all_arrive()
    owners.tick(START + 31 * 24 * HOUR)
    owners.let_all_arrive()
    assert disagreements(owners) == []
    identity = owners.held()["email:a@acme.example"].links
    assert identity is not None
    assert identity.alias_of == "L"
