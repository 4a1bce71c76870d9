"""Messages between owners of ids: which ones a lead sends about itself, and what each received one does.

`email:ADDRESS` knows which leads have that address, `account:DOMAIN` what each of its leads last reported. Both are ids like
any other: they have an owner and receive messages through its journal. Each lead's messages arrive in order. So what these
ids hold does not depend on the order in which different leads report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from worker.core.contract.model import (
    AccountUpdate,
    AddressOffer,
    AddressRelease,
    AliasLeft,
    EraseAlias,
    MergeRequest,
    VisitorHistory,
)
from worker.core.grid.email_kind import email_domain, is_business
from worker.core.identity import accounts, addresses, aliases, erasure
from worker.core.identity.recorder import Recorder
from worker.core.identity.subject import Subject
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import LeadState, Member
from worker.core.scoring.traits import held, unpack_traits

HANDLERS: Final[dict[type, Callable[[Subject, Any, Recorder], None]]] = {
    MergeRequest: aliases.answer,
    VisitorHistory: aliases.take_history,
    AliasLeft: aliases.strike,
    EraseAlias: erasure.follow,
    AddressRelease: addresses.release,
    AddressOffer: addresses.accept,
    AccountUpdate: accounts.update,
}
"""What each message does to the id that it is for."""


def report(subject: Subject, recorder: Recorder) -> None:
    """Inform the owners of the lead's address and account of changes, and schedule the next change by time."""
    state = subject.state
    if not state.alive or (subject.reading is None and not subject.traits_changed):
        return
    member = state.identity.member or Member()
    account, role = member.account, member.role
    if subject.traits_changed:
        subject.traits_changed = False
        email, account, role = who(subject.scorer, state)
        if email != state.identity.email:
            addresses.report(subject, email, recorder)
    if account or member.account:
        accounts.report(subject, account, role, recorder)


def who(scorer: CompiledGrid, state: LeadState) -> tuple[str, str, int]:
    """Return the ids of the lead's address and account, each empty for none, and its decision role, by its traits."""
    traits = held(unpack_traits(state.traits))

    def text(path: str) -> str:
        value = traits.get(path)
        return value.strip().lower() if isinstance(value, str) else ""

    email = account = ""
    role = 0
    if scorer.grid.identity is not None and (address := text("email")) and email_domain(address) is not None:
        email = f"email:{address}"
    if scorer.grid.accounts is not None:
        domain = text("company.domain")
        account = f"account:{domain}" if is_business(domain, scorer.grid.mail) else ""
        role = accounts.role_number(text("decision_role"))
    return email, account, role
