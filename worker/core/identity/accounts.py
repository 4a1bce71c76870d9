"""The account of a company: which of its leads count for it, and whether it is hot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from worker.core.contract.model import AccountUpdate
from worker.core.grid.models import Accounts
from worker.core.identity.recorder import Recorder
from worker.core.identity.subject import Subject
from worker.core.scoring.compiled_rules import ALLOWANCE
from worker.core.scoring.reading import Reading, falls_in, rises_in
from worker.core.scoring.score import read
from worker.core.scoring.state import EXCLUDED, Account, LeadState, Member

ROLES: Final = ("initiator", "influencer", "sponsor", "signatory")
"""The values of `decision_role` that count. Packed states name one by its place here, from 1 on; 0: another, or none."""

MOST_MEMBERS: Final = 500
MEMBERS_LIMIT_BYTES: Final = 32_768
"""Of the ids of an account's leads, together."""


def role_number(name: str) -> int:
    """Return the number that packed states keep for a decision role."""
    return ROLES.index(name) + 1 if name in ROLES else 0


# --- the lead ----------------------------------------------------------------------------------------------------------


def report(subject: Subject, account: str, role: int, recorder: Recorder) -> None:
    """Report to *account* (empty for none) what the lead adds to it, and schedule the next change by time."""
    state, rules = subject.state, subject.scorer.grid.accounts
    reading = subject.reading
    if rules is None or reading is None:
        reading = subject.reading = read(subject.scorer, state, subject.at_ms)
    before = state.identity.member or Member()
    if account != before.account:
        leave(subject, before, recorder)
        before = Member(account, role)
    score = None if rules is None else reported_score(rules, state, reading, before)
    member = Member(account, role, score, subject.at_ms if score != before.score else before.at_ms)
    if _concerns_account(before, member):
        recorder.pass_on(AccountUpdate(account, subject.name, score, role, subject.at_ms, recorder.cause))
    if member != state.identity.member:
        subject.relink(member=member if account else None)
    if rules is not None:
        _schedule(subject, max(next_look_ms(rules, state, reading, member, subject.at_ms), subject.at_ms + 1))


def _concerns_account(before: Member, member: Member) -> bool:
    """Return whether the change of a lead's report changes its account."""
    if not member.account or (before.score is None and member.score is None):
        return False
    return (before.score, before.role) != (member.score, member.role)


def _schedule(subject: Subject, look_ms: float) -> None:
    """Let the lead be judged at *look_ms*, if that is earlier than it is due. Infinite: never."""
    due_ms = subject.state.due_ms
    if look_ms != math.inf and (due_ms is None or look_ms < due_ms):
        subject.state.due_ms = int(look_ms)
        subject.changed = True


def leave(subject: Subject, member: Member | None, recorder: Recorder) -> None:
    """Report that the lead does not count for its account any more."""
    if member is not None and member.account and member.score is not None:
        recorder.pass_on(AccountUpdate(member.account, subject.name, None, 0, subject.at_ms, recorder.cause))


def reported_score(accounts: Accounts, state: LeadState, reading: Reading, member: Member) -> float | None:
    """Return the score that the account knows from now on. `None`: the lead does not count."""
    if state.stage == EXCLUDED or reading.score < accounts.active - ALLOWANCE:
        return None
    if member.score is not None and abs(reading.score - member.score) < accounts.step - ALLOWANCE:
        return member.score
    return reading.score


def next_look_ms(accounts: Accounts, state: LeadState, reading: Reading, member: Member, at_ms: int) -> float:
    """Return an instant not later than the next change of `reported_score` by time alone. Infinite: never."""
    if not member.account or state.stage == EXCLUDED:
        return math.inf
    up = accounts.active - ALLOWANCE
    found = math.inf
    if member.score is not None:
        up = member.score + accounts.step - ALLOWANCE
        down = max(member.score - accounts.step, accounts.active) - ALLOWANCE
        if reading.lowest <= down:
            found = min(reading.step_ms, at_ms + falls_in(reading, reading.score - down))
    if reading.highest >= up:
        found = min(found, reading.step_ms, at_ms + rises_in(reading, up - reading.score))
    return found


# --- the id `account:DOMAIN` -------------------------------------------------------------------------------------------


def update(subject: Subject, item: AccountUpdate, recorder: Recorder) -> None:
    """Take what a lead of this account reported."""
    account = subject.state.identity.account or Account()
    take(account, item.by, None if item.score is None else Member("", item.role, item.score, item.at_ms))
    account.at_ms = max(account.at_ms, item.at_ms)
    subject.relink(account=account)
    judge(subject, recorder)


def judge(subject: Subject, recorder: Recorder) -> None:
    """Publish that the account became hot or cooled, if it did."""
    rules, account = subject.scorer.grid.accounts, subject.state.identity.account
    if account is None:
        return
    if rules is not None and is_hot(rules, account) != account.hot:
        account.hot = not account.hot
        kind = "account.hot" if account.hot else "account.cooled"
        subject.transitions(recorder).account(subject.state, account.at_ms, kind, figures(account))
    if not account.members and not account.hot:
        subject.relink(account=None)
    subject.changed = True


def take(account: Account, lead: str, member: Member | None) -> None:
    """Hold what *lead* reported last. `None`: it does not count any more. Past the bounds the lowest score is left out."""
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
