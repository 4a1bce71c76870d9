"""Accounts and addresses: what their owners hold is what a recount of all leads gives, whatever came first."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import worker.core.insight.replay
from tests.kit.examples import examples
from tests.kit.owners import GRID, HOUR, START, Owners, an_event, known_as
from worker.core.grid.messages import GridError
from worker.core.grid.models import parse_grid
from worker.core.identity.accounts import MEMBERS_LIMIT_BYTES, MOST_MEMBERS, take, total
from worker.core.identity.messages import who
from worker.core.insight.replay import replay_lines
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.score import read
from worker.core.scoring.state import EXCLUDED, Account, LeadState, Member

ACCOUNTS = GRID + "accounts: {enter: 8, leave: 5, active: 2, min_leads: 2, step: 1.5}\n"
SCORER = CompiledGrid(parse_grid(ACCOUNTS, "accounts.yaml"), "/leadpulse/replay")
DOMAINS = ("acme.example", "ACME.example ", "other.example", "gmail.com", "no domain", None)
IDS = ("lead-alpha", "lead-bravo", "lead-charlie", "lead-delta")

any_deeds = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 90),
        st.sampled_from(["view"] * 6 + ["company"] * 4 + ["complained", "identified", "erased", "again"]),
        st.integers(0, 5),
    ),
    max_size=30,
)
WARM = [(lead, 0, kind, 0) for lead in (0, 1) for kind in ("company", "view", "view")]
"""Two leads of one company, which is hot with them."""
deeds = any_deeds | any_deeds.map(lambda done: WARM + done)


def lines_of(done: list[tuple[int, int, str, int]]) -> list[dict[str, Any]]:
    """Return what was done as events."""
    lines: list[dict[str, Any]] = []
    for n, (lead, hours, kind, pick) in enumerate(done):
        name = IDS[lead]
        if kind == "view":
            lines.append(an_event(n, name, hours))
        elif kind == "company":
            role = ["sponsor", "signatory", "Initiator", "user", None, "influencer"][pick]
            lines.append(
                an_event(
                    n, name, hours, "profile.updated", traits={"company": {"domain": DOMAINS[pick]}, "decision_role": role}
                )
            )
        elif kind == "complained":
            lines.append(an_event(n, name, hours, "email.complained", message_id="m"))
        elif kind == "identified":
            lines.append(known_as(n, name, IDS[pick % 4], hours))
        elif kind == "erased":
            lines.append(an_event(n, name, hours + 100, "lead.erased"))  # said to be whom since then: known again
        elif lines:
            lines.append(lines[pick % len(lines)])
    return lines


def alive(owners: Owners) -> dict[str, LeadState]:
    """Return the leads that there are."""
    return {name: state for name, state in owners.held().items() if state.alive}


def accounts_of(owners: Owners) -> dict[str, Account]:
    """Return the accounts that hold somebody."""
    return {
        name: state.links.account
        for name, state in owners.held().items()
        if state.links is not None and state.links.account is not None
    }


def recounted(owners: Owners) -> dict[str, dict[str, Member]]:
    """Return the members of each account by its leads' own states, each of which must know what its account was told."""
    found: dict[str, dict[str, Member]] = {}
    for name, state in alive(owners).items():
        _, account, role = who(SCORER, state)
        score = read(SCORER, state, state.clock_ms).score
        counts = bool(account) and state.stage != EXCLUDED and score >= 2 - 1e-9
        told = state.links.member if state.links is not None else None
        told = told if told is not None and told.score is not None else None
        assert (told is not None) == counts
        if told is not None:
            assert abs((told.score or 0) - score) < 1.5
            assert (told.account, told.role) == (account, role)
            found.setdefault(account, {})[name] = told
    return found


def hold_members(held: dict[str, Account], recount: dict[str, dict[str, Member]]) -> None:
    """Compare what accounts hold with the recount; an account is hot by its own thresholds."""
    assert recount.keys() <= held.keys()
    for name, account in held.items():
        members = {lead: (m.score, m.role) for lead, m in account.members.items()}
        leads = {lead: (m.score, m.role) for lead, m in recount.get(name, {}).items()}
        assert members == leads
        assert total(account) == math.fsum(score or 0 for score, _ in leads.values())
        assert account.hot == (total(account) >= (5 if account.hot else 8) and len(leads) >= 2)


def hold_moves(owners: Owners, held: dict[str, Account]) -> None:
    """See that each account went hot and cooled in turn, with sums of its members, and stands as it was published last."""
    moves: dict[str, list[str]] = {}
    for output in owners.outputs:
        if output["type"].startswith("account."):
            moves.setdefault(output["subject"], []).append(output["type"])
            members = output["data"]["members"]
            assert output["data"]["sum"] == math.fsum(member["score"] for member in members)
            assert output["data"]["leads"] == len(members)
    for name, published in moves.items():
        assert published == [("account.hot", "account.cooled")[place % 2] for place in range(len(published))]
        assert (len(published) % 2 == 1) == (name in held and held[name].hot)


def hold_erased_unknown(owners: Owners) -> None:
    """See that no state names an erased id, unless somebody linked it since."""
    for name, state in owners.held().items():
        if not state.alive and state.erased_ms and state.links is None:
            assert owners.who_know(name) == [], f"{name} was erased"


@examples(300)
@given(deeds, st.data())
def test_an_account_holds_what_a_recount_of_its_leads_gives(done: list[tuple[int, int, str, int]], data: st.DataObject) -> None:
    """Leads that move, merge, are excluded, erased, cool by time: whoever is heard first, each counts once, where it is."""
    owners = Owners(SCORER)
    for line in lines_of(done):
        owners.say(line)
        owners.let_some_arrive(data)
        if data.draw(st.integers(0, 4)) == 0:
            owners.tick(START + data.draw(st.integers(0, 90)) * HOUR)
    owners.let_the_rest_arrive(data)
    owners.tick(START + 200 * HOUR)
    owners.let_all_arrive()
    held = accounts_of(owners)
    hold_members(held, recounted(owners))
    hold_moves(owners, held)
    ids = [output["id"] for output in owners.outputs]
    assert len(ids) == len(set(ids))
    hold_erased_unknown(owners)


@examples(60)
@given(deeds, st.integers(1, 7))
@example([(0, 0, "view", 0)] * 6 + [(1, 0, "view", 0)] * 2 + [(2, 18, "view", 0)], 1)  # one is judged before it is due again
def test_where_batches_end_changes_nothing_in_what_accounts_say(done: list[tuple[int, int, str, int]], size: int) -> None:
    """One at a time, or all at once: the same outputs, byte for byte."""
    lines = [json.dumps(line) for line in lines_of(done)]
    whole = replay_lines(lines, SCORER.grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.core.insight.replay, "CHUNK", size)
        parts = replay_lines(lines, SCORER.grid)
    assert parts.events == whole.events
    assert parts.leads == whole.leads


def of_acme(number: int, lead: str, role: str, hours: int = 0) -> dict[str, Any]:
    """Return the event that tells that *lead* works at acme.example."""
    return an_event(number, lead, hours, "profile.updated", traits={"company.domain": "acme.example", "decision_role": role})


def test_an_account_is_hot_with_the_leads_behind_it_and_cools_by_time() -> None:
    """Two leads of one company make together what neither does alone."""
    grid = parse_grid(
        GRID + "accounts: {enter: 6, leave: 5, active: 1, min_leads: 2, roles: [sponsor, signatory], step: 0.5}\n", "a.yaml"
    )
    lines = [of_acme(1, "a", "sponsor"), of_acme(2, "b", "signatory"), of_acme(3, "c", "user")]
    lines += [an_event(10, "a", 1), an_event(11, "a", 1), an_event(12, "b", 2), {"tick": "2026-04-30T00:00:00Z"}]
    told = [event for event in replay_lines([json.dumps(line) for line in lines], grid).events if "account" in event["type"]]
    assert [event["type"] for event in told] == ["account.hot", "account.cooled"]
    hot = told[0]
    assert (hot["subject"], hot["id"], hot["sequence"]) == ("account:acme.example", "account:acme.example:1", "1")
    assert hot["data"]["roles"] == ["sponsor", "signatory"]
    assert [member["lead_id"] for member in hot["data"]["members"]] == ["a", "b"]
    assert hot["data"]["cause"]["event_id"] == "e12"
    assert told[1]["data"]["cause"] is None


def test_an_account_keeps_its_highest_leads_within_its_bounds() -> None:
    """A company of thousands does not make a state of megabytes."""
    account = Account()
    for number in range(MOST_MEMBERS + 50):
        take(account, f"lead-{number:04}", Member("", 0, float(number), 0))
    assert len(account.members) == MOST_MEMBERS
    assert min(member.score or 0 for member in account.members.values()) == 50
    take(account, "x" * MEMBERS_LIMIT_BYTES, Member("", 0, 1e6, 0))
    assert sum(map(len, account.members)) <= MEMBERS_LIMIT_BYTES


def emailed(number: int, lead: str, email: str | None, hours: int = 0) -> dict[str, Any]:
    """Return the event that tells a lead's address."""
    return an_event(number, lead, hours, "profile.updated", traits={"email": email})


REPORT = CompiledGrid(parse_grid(GRID + "identity: {email: report}\n", "report.yaml"), "/leadpulse/replay")
LINK = CompiledGrid(parse_grid(GRID + "identity: {email: link}\n", "link.yaml"), "/leadpulse/replay")


@pytest.mark.parametrize("scorer", [REPORT, LINK])
def test_a_second_lead_with_an_address_is_reported_once_and_merged_never(scorer: CompiledGrid) -> None:
    """Who of two is whom is for people to say; the same told again, or another trait, says nothing new."""
    owners = Owners(scorer)
    owners.say(emailed(1, "K", "Ada@Acme.example"))
    owners.let_all_arrive()
    owners.say(emailed(2, "L", "ada@acme.example"))
    owners.say(emailed(3, "L", "ada@acme.example", 1))
    owners.say(an_event(4, "L", 2))
    owners.let_all_arrive()
    [told] = [output for output in owners.outputs if output["type"] == "lead.duplicate"]
    assert (told["subject"], told["id"]) == ("L", "L:1")
    assert told["data"] == {
        "lead_id": "L",
        "email": "ada@acme.example",
        "held_by": ["K"],
        "cause": {"topic": "events", "partition": 0, "offset": 1, "event_id": "e2"},
    }
    assert owners.alive().keys() == {"K", "L"}
    replayed = replay_lines(
        [json.dumps(line) for line in (emailed(1, "K", "Ada@Acme.example"), emailed(2, "L", "ada@acme.example"))], scorer.grid
    )
    assert [event["type"] for event in replayed.events] == ["lead.duplicate"]


@pytest.mark.parametrize("first", [0, 1])
def test_an_address_is_its_leads_by_itself_where_the_grid_says_so(first: int) -> None:
    """What an e-mail tool tells of the address counts for the lead, before and after; a changed address is let go."""
    owners = Owners(LINK)
    owners.say(an_event(1, "email:ada@acme.example", 0))
    said = [emailed(2, "L", "ada@acme.example", 1), an_event(3, "email:ada@acme.example", 2)]
    for line in said if first else reversed(said):
        owners.say(line)
    owners.let_all_arrive()
    owners.say(an_event(4, "email:ada@acme.example", 3))
    owners.let_all_arrive()
    assert {name: told["rule view"] for name, told in owners.alive().items()} == {"L": 3}
    owners.say(emailed(5, "L", "ada@other.example", 4))
    owners.let_all_arrive()
    owners.say(an_event(6, "email:ada@acme.example", 5))
    owners.say(an_event(7, "email:ada@other.example", 5))
    owners.let_all_arrive()
    assert {name: told["rule view"] for name, told in owners.alive().items()} == {"L": 4, "email:ada@acme.example": 1}


def test_an_erased_lead_leaves_its_address_to_the_next() -> None:
    """The index forgets it: not even its key stays."""
    owners = Owners(REPORT)
    owners.say(emailed(1, "K", "ada@acme.example"))
    owners.let_all_arrive()
    owners.say(an_event(2, "K", 1, "lead.erased"))
    owners.let_all_arrive()
    assert not owners.states["email:ada@acme.example"]
    owners.say(emailed(3, "L", "ada@acme.example", 2))
    owners.let_all_arrive()
    assert [output["type"] for output in owners.outputs] == ["lead.erased"]


def test_a_visitor_with_the_address_of_its_lead_is_no_duplicate() -> None:
    """It is the lead; one that claims the address later is told of the lead, not of the visitor."""
    owners = Owners(REPORT)
    owners.say(emailed(1, "v", "ada@acme.example"))
    owners.let_all_arrive()
    owners.say(known_as(2, "L", "v", 1))
    owners.let_all_arrive()
    assert not [output for output in owners.outputs if output["type"] == "lead.duplicate"]
    owners.say(emailed(3, "M", "ada@acme.example", 2))
    owners.let_all_arrive()
    assert [output["data"]["held_by"] for output in owners.outputs if output["type"] == "lead.duplicate"] == [["L"]]


happened = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["view", "email", "mail", "identified", "erased"]), st.integers(0, 3)),
    max_size=14,
)


@examples(300)
@given(happened, st.sampled_from([REPORT, LINK]), st.data())
def test_addresses_lose_and_double_nothing_and_keep_nothing_of_the_erased(
    done: list[tuple[int, str, int]], scorer: CompiledGrid, data: st.DataObject
) -> None:
    """Nobody waits for ever, the index holds the leads that there are, and an erased id is known to nobody."""
    owners = Owners(scorer)
    for n, (lead, kind, pick) in enumerate(done):
        name, address = IDS[lead], f"{'abcd'[pick]}@acme.example"
        line = {
            "view": an_event(n, name, n),
            "email": emailed(n, name, address if pick else None, n),
            "mail": an_event(n, f"email:{address}", n),
            "identified": known_as(n, name, IDS[pick], n),
            "erased": an_event(n, name, n, "lead.erased"),
        }[kind]
        owners.say(line)
        owners.let_some_arrive(data)
    owners.let_the_rest_arrive(data)
    if not any(kind == "erased" for _, kind, _ in done):
        views = sum(kind in ("view", "mail") for _, kind, _ in done)
        assert sum(told.get("rule view", 0) for told in owners.alive().values()) == views
    hold_addresses(owners)
    hold_erased_unknown(owners)


def hold_addresses(owners: Owners) -> None:
    """See that the index of addresses holds exactly the leads that there are, and no id waits for an answer."""
    states = owners.held()
    for name, state in states.items():
        assert state.links is None or not state.links.awaiting, f"{name} waits for ever"
        if state.alive and (email := who(owners.scorer, state)[0]) and email != name:
            index = states[email].links
            assert index is not None
            assert name in index.address_holders
        for holder in state.links.address_holders if state.links is not None else ():
            assert states[holder].alive
            assert who(owners.scorer, states[holder])[0] == name


def test_mistakes_in_accounts_and_identity_are_told() -> None:
    """By file, line and path, as everywhere in a grid."""
    with pytest.raises(GridError) as told:
        parse_grid(GRID + "accounts: {enter: 8, step: 0, roles: [boss], min_leads: 0}\nidentity: {email: merge}\n", "g.yaml")
    assert {mistake.path for mistake in told.value.mistakes} == {
        "accounts.step", "accounts.roles[0]", "accounts.min_leads", "identity.email",
    }  # fmt: skip
