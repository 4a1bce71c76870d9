"""The account of a company: which of its leads count for it, and whether it is hot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from worker.core.grid.models import Accounts
from worker.core.scoring.compiled_grid import ALLOWANCE
from worker.core.scoring.score import Reading
from worker.core.scoring.stages import reach
from worker.core.scoring.state import EXCLUDED, Account, LeadState, Member

ROLES: Final = ("initiator", "influencer", "sponsor", "signatory")
"""The values of `decision_role` that count. Packed states name one by its place here, from 1 on; 0: another, or none."""

MOST_MEMBERS: Final = 500
MEMBERS_LIMIT_BYTES: Final = 32_768
"""Of the ids of an account's leads, together."""


def told(accounts: Accounts, state: LeadState, reading: Reading, member: Member) -> float | None:
    """Return the score that the account is to know of from now on; `None`: the lead does not count."""
    if state.stage == EXCLUDED or reading.score < accounts.active - ALLOWANCE:
        return None
    if member.score is not None and abs(reading.score - member.score) < accounts.step - ALLOWANCE:
        return member.score
    return reading.score


def next_look_ms(accounts: Accounts, state: LeadState, reading: Reading, member: Member, at_ms: int) -> float:
    """Return an instant not later than the next at which time alone makes `told` another; infinite for never."""
    if not member.account or state.stage == EXCLUDED:
        return math.inf
    up = accounts.active - ALLOWANCE
    found = math.inf
    if member.score is not None:
        up = member.score + accounts.step - ALLOWANCE
        down = max(member.score - accounts.step, accounts.active) - ALLOWANCE
        if reading.lowest <= down:
            found = min(reading.step_ms, at_ms + reach(reading.score - down, reading.falling, reading.falling_half_life))
    if reading.highest >= up:
        found = min(found, reading.step_ms, at_ms + reach(up - reading.score, reading.rising, reading.rising_half_life))
    return found


def take(account: Account, lead: str, member: Member | None) -> None:
    """Hold what *lead* told last; `None`: it does not count any more. Past the bounds the least score is left out."""
    members = account.members
    members.pop(lead, None)
    if member is None:
        return
    members[lead] = member
    while len(members) > MOST_MEMBERS or sum(len(one.encode()) for one in members) > MEMBERS_LIMIT_BYTES:
        del members[min(members, key=lambda one: (members[one].score or 0.0, one))]


def total(account: Account) -> float:
    """Return the sum of the scores, the same whatever the order in which they came."""
    return math.fsum(member.score or 0.0 for member in account.members.values())


def is_hot(accounts: Accounts, account: Account) -> bool:
    """Return whether the account is hot now: at `enter`, or still not below `leave`, with the leads and roles asked for."""
    least = min(accounts.leave, accounts.enter) if account.hot else accounts.enter
    return (
        len(account.members) >= accounts.min_leads
        and total(account) >= least - ALLOWANCE
        and set(covered(account.members.values())).issuperset(accounts.roles)
    )


def covered(members: Iterable[Member]) -> list[str]:
    """Return the decision roles that *members* cover, in the order of `ROLES`."""
    held = {member.role for member in members}
    return [name for place, name in enumerate(ROLES, start=1) if place in held]


def figures(account: Account) -> dict[str, Any]:
    """Return what is published of an account: how many leads, what they come to, and who they are, the highest first."""
    members = sorted(account.members.items(), key=lambda one: (-(one[1].score or 0.0), one[0]))
    return {
        "leads": len(members),
        "sum": total(account),
        "max": max((member.score or 0.0 for _, member in members), default=0.0),
        "roles": covered(account.members.values()),
        "members": [
            {
                "lead_id": lead,
                "score": member.score,
                "decision_role": ROLES[member.role - 1] if member.role else None,
                "at": member.at_ms,
            }
            for lead, member in members
        ],
    }
