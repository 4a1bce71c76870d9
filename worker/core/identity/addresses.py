"""E-mail addresses: the id `email:ADDRESS` knows which leads have that address.

The grid's `identity.email: link` makes the id an alias of the only lead that has the address.
"""

from __future__ import annotations

from typing import Final

from worker.core.contract.model import AddressOffer, AddressRelease, AliasLeft, MergeRequest
from worker.core.identity.recorder import Recorder
from worker.core.identity.subject import Subject
from worker.core.scoring.traits import unpack_traits

MOST_HOLDERS: Final = 16
"""Leads that are remembered to have one address. Further ones are reported all the same."""


def links_by_address(subject: Subject) -> bool:
    """Return whether the grid makes an address an alias without a `lead.identified`."""
    identity = subject.scorer.grid.identity
    return identity is not None and identity.email == "link"


# --- the lead ----------------------------------------------------------------------------------------------------------


def report(subject: Subject, email: str, recorder: Recorder) -> None:
    """Inform the owners of the lead's new address (*email*, empty for none) and of its former address."""
    before = subject.state.identity.email
    if before:
        recorder.pass_on(AddressRelease(before, subject.name, cause=recorder.cause))
    subject.relink(email=email)
    _claim(subject, recorder)


def _claim(subject: Subject, recorder: Recorder, after_ms: int = 0) -> None:
    """Report the lead's address to its owner, as of the trait's time, or just past *after_ms* if that is later."""
    links = subject.state.identity
    email = links.email
    if not email or email == subject.name:
        return
    link = links_by_address(subject)
    if link and email not in links.awaiting:
        judged_ms = links.judged_until_ms if links.awaiting else subject.at_ms
        subject.relink(awaiting=(*links.awaiting, email), judged_until_ms=judged_ms)
    linked_ms = max(unpack_traits(subject.state.traits)["email"].at_ms, after_ms + 1)
    recorder.pass_on(MergeRequest(email, subject.name, linked_ms, recorder.cause, link))


def accept(subject: Subject, item: AddressOffer, recorder: Recorder) -> None:
    """Request the address again that no other lead has any more, if it still is this lead's."""
    if subject.state.alive and subject.state.identity.email == item.address:
        _claim(subject, recorder, item.erased_ms)
        subject.changed = True


def leave(subject: Subject, recorder: Recorder, *, merged: bool) -> None:
    """Report that the lead has its address no more."""
    email = subject.state.identity.email
    if email and email != subject.name:
        recorder.pass_on(AddressRelease(email, subject.name, merged, recorder.cause))


# --- the id `email:ADDRESS` --------------------------------------------------------------------------------------------


def hold(subject: Subject, lead: str) -> tuple[str, ...]:
    """Record that *lead* has the address. Return the other leads that have it."""
    holders = subject.state.identity.address_holders
    if lead not in holders and len(holders) < MOST_HOLDERS:
        subject.relink(address_holders=(*holders, lead))
    return tuple(holder for holder in holders if holder != lead)


def release(subject: Subject, item: AddressRelease, recorder: Recorder) -> None:
    """Strike a lead off those that have the address. An id that is its alias by the address alone is none any more."""
    links = subject.state.identity
    if item.by not in links.address_holders:
        return
    subject.relink(address_holders=tuple(holder for holder in links.address_holders if holder != item.by))
    if item.merged and links.alias_of:
        return
    if links.by_address and links.alias_of == item.by:
        subject.relink(alias_of="", linked_at_ms=0, by_address=False)
        recorder.pass_on(AliasLeft(item.by, subject.name))
    offer(subject, recorder)


def offer(subject: Subject, recorder: Recorder) -> None:
    """Offer the address to the only lead that has it, unless a `lead.identified` linked it."""
    links = subject.state.identity
    if len(links.address_holders) != 1 or not links_by_address(subject):
        return
    (lead,) = links.address_holders
    if not links.alias_of or (links.by_address and links.alias_of != lead):
        recorder.pass_on(AddressOffer(lead, subject.name, subject.state.erased_ms, recorder.cause))
