"""Leads that are erased or removed: which marks are kept of them, and which messages they send."""

from __future__ import annotations

from worker.core.contract.model import AliasLeft, EraseAlias, VisitorHistory
from worker.core.identity import accounts, addresses
from worker.core.identity.recorder import Recorder
from worker.core.identity.subject import Subject
from worker.core.scoring.state import IdentityLinks, LeadState


def erase(subject: Subject, erased_ms: int, recorder: Recorder, *, offers: bool = True) -> None:
    """Keep nothing but the instant of the erasure and the sequence, so that no output's id is used twice.

    With *offers*, an id `email:ADDRESS` may become the alias of the only lead that has the address.
    """
    # An alias may have no clock of its own: what it did is the lead's.
    at_ms, old = max(subject.at_ms, erased_ms), subject.state
    # An address whose answer is on its way may be an alias already, and is listed when that is here.
    for alias in dict.fromkeys((*old.identity.aliases, *old.identity.awaiting)):
        recorder.pass_on(EraseAlias(alias, subject.name, erased_ms, recorder.cause))
    take_back(subject, recorder)
    kept = LeadState(alive=False, erased_ms=erased_ms, sequence=old.sequence)
    kept.identity = kept_links(old.identity)
    subject.transitions(recorder).erased(kept, at_ms)
    subject.become(kept)
    subject.at_ms = subject.tick_ms
    if offers:
        addresses.offer(subject, recorder)


def erase_alias(subject: Subject, erased_ms: int, recorder: Recorder) -> None:
    """Erase an id that is an alias. If it was linked after the instant of a late erasure, it stays an alias."""
    links = subject.state.identity
    erase(subject, erased_ms, recorder, offers=links.linked_at_ms <= erased_ms)
    if links.linked_at_ms > erased_ms:
        subject.relink(alias_of=links.alias_of, linked_at_ms=links.linked_at_ms, by_address=links.by_address)


def remove(subject: Subject, recorder: Recorder) -> None:
    """Remove an idle lead. Its sequence and its last erasure stay: no output's id is used twice, no erased event returns."""
    old = subject.state
    for alias in old.identity.aliases:
        recorder.pass_on(EraseAlias(alias, subject.name, 0, None))
    take_back(subject, recorder)
    kept = LeadState(alive=False, erased_ms=old.erased_ms, sequence=old.sequence)
    kept.identity = kept_links(old.identity)
    subject.become(kept)
    addresses.offer(subject, recorder)


def follow(subject: Subject, item: EraseAlias, recorder: Recorder) -> None:
    """Erase this id with the lead that it is an alias of. The alias of another lead, or of none, stays."""
    links = subject.state.identity
    if links.alias_of != item.by:
        return
    if item.at_ms and links.linked_at_ms > item.at_ms:
        # Linked after an erasure that came late: still an alias, of a lead that has just forgotten all of its own.
        recorder.pass_on(VisitorHistory(item.by, subject.name, None, item.cause, told_ms=links.linked_at_ms))
        return
    if item.at_ms:
        erase(subject, item.at_ms, recorder)
    else:
        remove(subject, recorder.by_time())
        recorder.pass_on(AliasLeft(item.by, subject.name))  # after any message on its way that lists it as an alias


def take_back(subject: Subject, recorder: Recorder, *, merged: bool = False) -> None:
    """Take back what the owners of the lead's address and account know of it. *merged*: this id becomes an alias."""
    addresses.leave(subject, recorder, merged=merged)
    accounts.leave(subject, subject.state.identity.member, recorder)


def kept_links(links: IdentityLinks) -> IdentityLinks:
    """Return what outlives the id itself: the leads that have its address, or that belong to its account."""
    return IdentityLinks(address_holders=links.address_holders, account=links.account)
