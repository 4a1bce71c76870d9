"""Aliases: ids whose events count for another lead, and whose history became that lead's.

A `lead.identified` names a visitor. The lead requests the visitor's history from its owner. The visitor becomes an alias,
and its owner forwards everything that comes for it later, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from worker.core.contract.marks import lead_mark
from worker.core.contract.model import AliasLeft, EraseAlias, Event, MergeRequest, VisitorHistory
from worker.core.grid.scalars import is_blank
from worker.core.identity import addresses
from worker.core.identity.erasure import kept_links, take_back
from worker.core.identity.merge import merge
from worker.core.identity.recorder import Recorder
from worker.core.identity.subject import Subject
from worker.core.identity.succession import is_address, take_standing
from worker.core.scoring import stages
from worker.core.scoring.packing import RECENT_KEPT, open_
from worker.core.scoring.score import read
from worker.core.scoring.set_aside import keep_counted
from worker.core.scoring.state import ALIASES_LIMIT_BYTES, IdentityLinks, LeadState, pack, unpack
from worker.core.scoring.traits import unpack_traits

MOST_HOPS: Final = 64
"""After so many aliases an item stays where it is: a longer chain is a mistake or an abuse."""

# --- the known lead ----------------------------------------------------------------------------------------------------


def has_room(subject: Subject, event: Event, recorder: Recorder) -> bool:
    """Return whether the lead can hold the alias that a `lead.identified` names. If not, the event is refused."""
    visitor, known = event.data["anonymous_id"], subject.state.identity.aliases
    if visitor == subject.name or visitor in known or is_blank(visitor):
        return True
    if len("".join((*known, visitor)).encode()) <= ALIASES_LIMIT_BYTES:
        return True
    detail = f"data.anonymous_id: the ids of the lead's aliases would take more than {ALIASES_LIMIT_BYTES:,} bytes"
    recorder.refuse("aliases_refused", detail)
    return False


def request(subject: Subject, event: Event, recorder: Recorder) -> None:
    """Request the history of the visitor that a `lead.identified` names. Until it comes, time alone does not move the lead."""
    visitor, links = event.data["anonymous_id"], subject.state.identity
    if visitor == subject.name or is_blank(visitor):
        return
    subject.relink(aliases=_with(links.aliases, visitor), awaiting=_with(links.awaiting, visitor))
    recorder.pass_on(MergeRequest(visitor, subject.name, event.at_ms, recorder.cause))


def take_history(subject: Subject, item: VisitorHistory, recorder: Recorder) -> None:
    """Merge a visitor's history as if the lead had done it, and judge the lead from where it was judged on."""
    if not item.visited:
        _list_alias(subject, item, recorder)
    if forward(subject, item, recorder):
        return
    since_ms, former = _merged_from(subject, item, recorder)
    state = subject.state
    if not state.alive:
        return
    moves = subject.transitions(recorder)
    known = state.identity.aliases
    held_by = [holder for holder in item.holders if holder != subject.name and holder not in known]
    if held_by:
        moves.duplicate(state, subject.at_ms, item.visitor.partition(":")[2], held_by)
    end_ms = max(subject.at_ms, state.clock_ms)
    subject.at_ms = since_ms
    if former is not None and is_address(item.visitor):
        take_standing(subject.scorer, state, former, since_ms, moves)
    subject.judge(moves)
    stages.advance(subject.scorer, state, since_ms, end_ms, subject.by_time)
    subject.at_ms = end_ms
    subject.judge(subject.by_time)
    subject.note_judged()


def _merged_from(subject: Subject, item: VisitorHistory, recorder: Recorder) -> tuple[int, LeadState | None]:
    """Merge the visitor's state, if it has one and it is not erased.

    Return the instant from which the lead is judged again, and what was merged.
    """
    state, scorer, effects = subject.state, subject.scorer, recorder.effects
    links = state.identity
    since_ms = links.judged_until_ms if links.awaiting else subject.at_ms
    subject.relink(awaiting=_without(links.awaiting, item.visitor))
    if item.state is None:
        return since_ms, None
    visitor = unpack(item.state)
    if state.erased_ms and not _began_after(visitor, state.erased_ms):
        effects.dropped += 1
        return since_ms, None
    effects.merged += 1
    keep_counted(scorer, visitor)
    if not state.alive:
        subject.begin()
        since_ms = max(subject.at_ms, visitor.clock_ms)
    elif since_ms < (last_ms := max((at_ms for at_ms, _, _ in open_(visitor.recent)), default=0)):
        # Nothing counts before it happened, so both are judged as one from what the visitor did last.
        if since_ms < state.respond_by_ms < last_ms:
            stages.breach(state, state.respond_by_ms, read(scorer, state, state.respond_by_ms), subject.by_time)
        since_ms = last_ms
    if is_address(item.visitor):
        since_ms = max(since_ms, visitor.clock_ms)  # until then its moves are published
    merge(scorer, state, visitor)
    subject.traits_changed = True
    return since_ms, visitor


def _began_after(state: LeadState, at_ms: int) -> bool:
    """Return whether everything in the state is known to be later than *at_ms*: by its last events, if they are all.

    Traits are looked at as well: events of machines are not among the last events.
    """
    recent = open_(state.recent)
    written = (write.at_ms for write in unpack_traits(state.traits).values())
    return 0 < len(recent) < RECENT_KEPT and recent[0][0] > at_ms and all(written_ms > at_ms for written_ms in written)


def _list_alias(subject: Subject, item: VisitorHistory, recorder: Recorder) -> None:
    """List the visitor among the aliases exactly if it is one. An erasure must reach all of them, and no other id."""
    if item.told_ms is None:
        return
    subject.changed = True
    known, erased_ms = subject.state.identity.aliases, subject.state.erased_ms
    if item.told_ms > erased_ms:
        subject.relink(aliases=_with(known, item.visitor))
    elif item.visitor in known:
        if not item.told_ms:
            subject.relink(aliases=_without(known, item.visitor))
    elif item.told_ms:  # it became an alias just before the erasure, which did not reach it
        recorder.pass_on(EraseAlias(item.visitor, subject.name, erased_ms, item.cause))


def strike(subject: Subject, item: AliasLeft, recorder: Recorder) -> None:
    """Strike an alias that went over to another lead off the list, unless it has been requested again."""
    links = subject.state.identity
    if item.alias in links.aliases and item.alias not in links.awaiting:
        subject.relink(aliases=_without(links.aliases, item.alias))


# --- the visitor -------------------------------------------------------------------------------------------------------


def forward(subject: Subject, item: Event | VisitorHistory, recorder: Recorder) -> bool:
    """Forward *item* if this id is an alias. Return whether it was.

    Where aliases lead round in a circle, the id with the smallest mark becomes a lead again, and keeps the item.
    """
    lead = subject.state.identity.alias_of
    if not lead:
        return False
    visited, mark = item.visited, lead_mark(subject.name)
    circle = visited[visited.index(mark) :] if mark in visited else ()
    if (circle and mark == min(circle)) or len(visited) >= MOST_HOPS:
        recorder.pass_on(AliasLeft(lead, subject.name))
        subject.relink(alias_of="", linked_at_ms=0, by_address=False)
        return False
    recorder.pass_on(msgspec.structs.replace(item, lead=lead, visited=(*visited, mark)))
    return True


class _Asked(NamedTuple):
    """A request for a visitor's history, and what it meets."""

    subject: Subject
    item: MergeRequest
    recorder: Recorder
    links: IdentityLinks
    """Of the visitor."""
    holders: tuple[str, ...]
    """Other leads that have the address which the visitor is."""

    def again(self) -> bool:
        """Return whether the visitor is an alias of the lead already."""
        return self.links.alias_of == self.item.by

    def taken(self) -> bool:
        """Return whether an address alone must not link the visitor to the lead."""
        links = self.links
        return bool(self.holders) or (links.alias_of not in ("", self.item.by) and not links.by_address)

    def answer(self, packed: bytes | None, linked_ms: int | None) -> None:
        """Answer the lead with the visitor's state, and since when the visitor is an alias (`VisitorHistory.told_ms`)."""
        item, name = self.item, self.subject.name
        answer = VisitorHistory(item.by, name, packed, item.cause, told_ms=linked_ms, holders=self.holders)
        self.recorder.pass_on(answer)


def answer(subject: Subject, item: MergeRequest, recorder: Recorder) -> None:
    """Answer a lead's request for everything that happened under this id, by the first of `CASES` that applies."""
    holders = () if item.link is None else addresses.hold(subject, item.by)
    asked = _Asked(subject, item, recorder, subject.state.identity, holders)
    for applies, act in CASES:
        if applies(asked):
            act(asked)
            return


def _report_holders(asked: _Asked) -> None:
    if asked.holders:
        asked.answer(None, None)


def _decline(asked: _Asked) -> None:
    asked.answer(None, asked.item.at_ms if asked.again() else 0)


def _stay_erased(asked: _Asked) -> None:
    asked.answer(None, asked.links.linked_at_ms if asked.again() else 0)


def _go_over(asked: _Asked) -> None:
    asked.recorder.effects.moved += asked.item.link is None  # otherwise the address changed hands
    asked.recorder.pass_on(AliasLeft(asked.links.alias_of, asked.subject.name))
    _link(asked)


def _give(asked: _Asked) -> None:
    """Give the state away, without the links of this id, which stay. Outputs that were published stay published."""
    subject = asked.subject
    state = subject.state
    packed = pack(msgspec.structs.replace(state, links=None))
    reading = subject.reading or read(subject.scorer, state, subject.at_ms)
    subject.transitions(asked.recorder).merged(state, subject.at_ms, reading, asked.item.by)
    _link(asked, packed)


def _link(asked: _Asked, packed: bytes | None = None) -> None:
    """Make this id an alias of the lead."""
    subject, item, links = asked.subject, asked.item, asked.links
    take_back(subject, asked.recorder, merged=True)
    old = subject.state
    linked = LeadState(alive=False, erased_ms=old.erased_ms, sequence=old.sequence)
    linked.identity = msgspec.structs.replace(
        kept_links(links),
        alias_of=item.by,
        aliases=links.aliases,
        linked_at_ms=max(item.at_ms, links.linked_at_ms if asked.again() else 0),
        by_address=bool(item.link) and (links.by_address or not links.alias_of),
    )
    subject.become(linked)
    subject.at_ms = subject.tick_ms
    asked.answer(packed, item.at_ms)


CASES: Final[tuple[tuple[Callable[[_Asked], bool], Callable[[_Asked], None]], ...]] = (
    (lambda asked: asked.item.link is False, _report_holders),  # addresses are only compared
    (lambda asked: asked.item.link is True and asked.taken(), _decline),  # an address alone does not decide here
    (lambda asked: asked.item.at_ms <= asked.subject.state.erased_ms, _stay_erased),  # erased since: nothing to give
    (lambda asked: asked.again(), _link),
    (lambda asked: asked.links.alias_of != "", _go_over),  # an alias of another lead
    (lambda asked: asked.subject.state.alive, _give),
    (lambda asked: True, _link),  # nothing is held of it
)
"""What a request meets, and what is done. The first that applies counts."""


def _with(ids: tuple[str, ...], id_: str) -> tuple[str, ...]:
    return ids if id_ in ids else (*ids, id_)


def _without(ids: tuple[str, ...], id_: str) -> tuple[str, ...]:
    return tuple(other for other in ids if other != id_)
