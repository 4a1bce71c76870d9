"""One batch, from states and events to what is to be written and published. Pure: the same input gives the same plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

import msgspec

from worker.core.contract.marks import lead_mark, shown_mark
from worker.core.contract.model import (
    MESSAGES,
    AccountUpdate,
    AddressOffer,
    AddressRelease,
    AliasLeft,
    Cause,
    EraseAlias,
    Event,
    Item,
    LeadWrite,
    MergeRequest,
    Output,
    VisitorHistory,
)
from worker.core.identity.accounts import figures, is_hot, next_look_ms, take, told, total
from worker.core.identity.addresses import MOST_HOLDERS, others
from worker.core.identity.merge import merge
from worker.core.identity.messages import who
from worker.core.scoring import stages
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fold import add, id_mark, is_duplicate, judge_traits, with_traits
from worker.core.scoring.outputs import Transition, TransitionRecorder
from worker.core.scoring.packing import RECENT_KEPT, open_
from worker.core.scoring.retention import ends_ms
from worker.core.scoring.score import Reading, read
from worker.core.scoring.set_aside import SINCE, drop_if_over, keep_counted, set_aside
from worker.core.scoring.state import (
    ALIASES_LIMIT_BYTES,
    STAGES,
    WHAT_TO_DO,
    Account,
    IdentityLinks,
    LeadState,
    Member,
    UnreadableState,
    is_nothing,
    pack,
    unpack,
)
from worker.core.scoring.traits import TraitsRefused, unpack_traits

MOST_BYTES: Final = 2 * 1024 * 1024
"""Of the records that a batch takes, of the states that it loads, and of the transitions that it makes: each on its own, and
passed by the last of them at most. An ordinary batch comes to a part of it; a lead with 64 kB of traits to 60 kB each time."""


@dataclass
class Plan:
    """What one batch asks for."""

    writes: list[LeadWrite] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    moves: list[Transition] = field(default_factory=list)
    """What each transition among the outputs was."""
    passed_on: list[tuple[int, Item]] = field(default_factory=list)
    """What is for another id's owner: messages, and events and messages for the lead that an id is an alias of; each with the
    place of the item that it comes of."""
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    """Valid events that cannot be taken, by their place among the items, the reason (`REFUSED`) and what is wrong. They go to
    `lead.dead` as bad records do, and leave no trace in the lead, so that a mended one can come again."""
    duplicates: int = 0
    late: int = 0
    """Events older than their lead's clock, or than its partition's last tick or as old. They count all the same."""
    erased: int = 0
    """Events dropped because their lead was erased after them."""
    merged: int = 0
    """Visitors whose past became a lead's."""
    dropped: int = 0
    """Visitors whose past was dropped: their lead was erased, and not all of it is known to be later."""
    removed: int = 0
    """Leads that were idle past the grid's `retention`."""
    moved: int = 0
    """Aliases of one lead that another one claimed: from then on they are the other's."""
    taken: int = 0
    """How many of the items were folded, or of the leads judged: all, unless what they make came to the most that it may."""
    caused: list[tuple[int, int]] = field(default_factory=list)
    """Outputs that have a cause, each by its place and that of the item which brought it about."""
    _counted: int = 0
    _bytes: int = 0

    def cause(self) -> None:
        """Note that the next output comes of the item at hand."""
        self.caused.append((len(self.outputs), self.taken))

    def said(self) -> Counter[str]:
        """Return how many messages are for the owners of other ids, by kind."""
        return Counter(MESSAGES[type(item)] for _, item in self.passed_on if type(item) is not Event)

    def pass_on(self, index: int, item: Item) -> None:
        """Note that *item* is for another id's owner, and came of the item at *index*."""
        self.passed_on.append((index, item))
        if type(item) is VisitorHistory:
            self._bytes += len(item.state or b"")

    def full(self, most: float) -> bool:
        """Return whether the outputs, with the states that are passed on, come to *most* bytes."""
        outputs = self.outputs
        while self._counted < len(outputs):
            self._bytes += len(outputs[self._counted].value or b"")
            self._counted += 1
        return self._bytes >= most


REFUSED: Final = {
    "traits_refused": "The lead cannot hold the event's traits.",
    "aliases_refused": "The lead cannot hold another alias.",
}
"""Why a valid event is refused: what its lead cannot hold."""

MOST_HOPS: Final = 64
"""After which what is forwarded from alias to alias stays where it is: a chain that long is a mistake, or somebody's joke."""


class Lead:
    """One lead while a batch is at hand: its state, and the instant up to which it stands judged."""

    def __init__(
        self,
        scorer: CompiledGrid,
        name: str,
        packed: bytes | None,
        clock_ms: int | None,
        outputs: list[Output],
        moves: list[Transition] | None = None,
        caused: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.scorer = scorer
        self.publisher = TransitionRecorder(scorer, name, outputs, moves, caused)
        try:
            self.state = LeadState(alive=False) if packed is None else unpack(packed)
        except UnreadableState as err:
            raise UnreadableState(f"lead with mark {shown_mark(name)}: {err}") from err
        self._tick_ms = clock_ms or 0
        self.at_ms = max(self.state.clock, self._tick_ms)
        """The lead's clock: the latest of its event times and of its partition's ticks."""
        self.reading: Reading | None = None
        """Of now; `None` where the lead is to be read yet."""
        self._held_by: Reading | None = None
        """The reading of which these two are:"""
        self._room = -1.0
        """Events that bring so many points more..."""
        self._until = 0.0
        """...and come before this instant move the lead nowhere (`stages.hold`)."""
        self._unjudged = False
        """Such events came, and the lead's `due` is still that of before."""
        self.changed = False
        self._who_changed = False
        """Whether the traits, or how the grid reads them, are others than when the lead last told who it is."""
        if self.state.alive and self.state.grid != scorer.tag:
            self._take_grid()

    def _take_grid(self) -> None:
        """Judge the lead by another grid than the last one, at its clock; set aside what that grid does not count."""
        state, scorer = self.state, self.scorer
        set_aside(scorer, state, self.at_ms)
        judge_traits(scorer, state)
        self._who_changed = True
        state.grid = scorer.tag
        if not self._waits():
            self._judge()
        self.changed = True

    def _begin_anew(self) -> None:
        """Forget what was read and proved of the state that was."""
        self.reading = self._held_by = None
        self._room, self._unjudged = -1.0, False

    def _waits(self) -> bool:
        """Return whether the past of a visitor is on its way here: until it has come, time alone does not move the lead."""
        return self.state.kin is not None and bool(self.state.kin.merging)

    def _judge(self) -> None:
        reading = self.reading = stages.judge(self.scorer, self.state, self.at_ms, self.publisher)
        self._schedule(stages.due(self.scorer, self.state, reading, self.at_ms))
        self._unjudged = False

    def _catch_up(self) -> Reading:
        """Return the lead's reading, and see to it that `due` is as if the lead had been judged at its last event."""
        reading = self.reading
        if reading is None:
            reading = self.reading = read(self.scorer, self.state, self.at_ms)
        if self._unjudged:
            self._schedule(stages.due(self.scorer, self.state, reading, self.at_ms))
            self._unjudged = False
        return reading

    def _holds(self, at_ms: int) -> bool:
        """Return whether nothing but the traits, the CRM or many points can move the lead until *at_ms* and then."""
        if self.reading is not None and self.reading is not self._held_by:
            self._room, self._until = stages.hold(self.scorer, self.state, self.reading)
            if self.scorer.retention is not None and self._until < inf:
                self._until = 0.0
            self._held_by = self.reading
        return at_ms < self._until and self._room >= 0

    def _schedule(self, due: int | None) -> None:
        """Let the lead be judged at *due*, or when it will have been idle for too long, if that is before."""
        if self.scorer.retention is not None:
            ends = max(ends_ms(self.scorer, self.state), self.at_ms + 1)
            due = due if ends == inf else int(min(ends, inf if due is None else due))
        self.state.due = due

    def take(self, item: Item, index: int, plan: Plan) -> None:
        """Fold one item: an event, or what the owner of another id says."""
        if type(item) is Event:
            self._event(item, index, plan)
        elif isinstance(item, MergeRequest):
            self._request(item, index, plan)
        elif isinstance(item, VisitorHistory):
            self._past(item, index, plan)
        elif isinstance(item, AccountUpdate):
            self._share(item)
        elif isinstance(item, AliasLeft):
            self._parted(item)
        elif isinstance(item, AddressRelease):
            self._release(item, index, plan)
        elif isinstance(item, AddressOffer):
            self._offer(item, index, plan)
        elif isinstance(item, EraseAlias):
            self._forget(item, index, plan)

    def _event(self, event: Event, index: int, plan: Plan) -> None:
        """Fold one event: what time alone changed before it, its effect, then the stage at the lead's clock."""
        state, scorer, publisher = self.state, self.scorer, self.publisher
        if state.erased and event.at_ms <= state.erased:
            plan.erased += 1
            return
        if state.kin is not None and self._is_for_another(event, index, plan):
            if event.type == "lead.erased":  # here too, and now: on its way the alias might become another lead's
                self._erase_alias(state.kin, event, index, plan)
            return
        if (
            scorer.retention is not None
            and state.due is not None
            and state.due < event.at_ms
            and not self._waits()
            and self._idle_until(event.at_ms - 1, index, plan)
        ):
            state = self.state
        event_mark = id_mark(event)
        if is_duplicate(state, event_mark):
            plan.duplicates += 1
            return
        traits = None
        if event.type == "profile.updated":
            try:
                traits = with_traits(state, event)
            except TraitsRefused as err:
                plan.refused.append((index, "traits_refused", str(err)))
                return
        visitor = event.data["anonymous_id"] if event.type == "lead.identified" else self.name
        if visitor != self.name:
            aliases = [] if state.kin is None else state.kin.aliases
            if visitor not in aliases and len("".join((*aliases, visitor)).encode()) > ALIASES_LIMIT_BYTES:
                why = f"data.anonymous_id: the ids of the lead's aliases would take more than {ALIASES_LIMIT_BYTES:,} bytes"
                plan.refused.append((index, "aliases_refused", why))
                return
        if state.kin is not None and self._waits():
            stages.advance(scorer, state, state.kin.since, self.at_ms, publisher)
        if event.at_ms > self.at_ms:
            self._let_pass(event.at_ms)
            self.at_ms = event.at_ms
        elif event.at_ms < self.at_ms or event.at_ms <= self._tick_ms:
            plan.late += 1
        if event.type == "lead.erased":
            self._erase(event.at_ms, _cause(event), index, plan)
            return
        publisher.cause = event
        if traits is not None:
            state.traits = traits
        known = traits is None and state.alive
        if not known:
            state.alive = True
            state.grid = scorer.tag
            judge_traits(scorer, state)
            self._who_changed = True
        gain = add(scorer, state, event, event_mark, self.at_ms)
        if visitor != self.name:
            self._ask_for(visitor, event, index, plan)
        if event.type.startswith("crm."):
            stages.take_crm(scorer, state, event.type, event.at_ms, self.at_ms, publisher)
        elif known and gain < inf and state.kin is None and self._holds(self.at_ms) and gain <= self._room:
            # The lead stays where it is: it is read once, when it is written.
            self._room -= gain
            self.reading = None
            self._unjudged = True
            if scorer.retention is not None:
                self._schedule(None)
            publisher.cause = None
            self.changed = True
            return
        self._judge()
        # Once more: the event may have brought about the very lead.sql that it answers, being no older than it.
        stages.answer(state, event.type, event.at_ms)
        publisher.cause = None
        if state.kin is not None:
            state.kin.since = self.at_ms
        self.changed = True

    def _let_pass(self, at_ms: int) -> None:
        """Let time pass up to the event at *at_ms*, which is later than the lead's clock."""
        if self._unjudged and not self._holds(at_ms):
            self._catch_up()
        state = self.state
        if self._unjudged or state.due is None or state.due >= at_ms:
            return
        if state.kin is None:
            self._catch_up()
            if self._holds(at_ms):
                return
        stages.advance(self.scorer, state, self.at_ms, at_ms - 1, self.publisher)

    def _erase_alias(self, kin: IdentityLinks, event: Event, index: int, plan: Plan) -> None:
        """Erase this id, which is an alias; one that was told to be it after an erasure that comes late is it still."""
        to, told, guessed = kin.to, kin.told, kin.guessed
        self._erase(event.at_ms, _cause(event), index, plan, offers=told <= event.at_ms)
        if told > event.at_ms:
            kin = self.state.kin = self.state.kin or IdentityLinks()
            kin.to, kin.told, kin.guessed = to, told, guessed

    def _erase(self, erased_ms: int, cause: Cause | None, index: int, plan: Plan, *, offers: bool = True) -> None:
        """Keep nothing but the mark: the instant, and the sequence, so that no id of an output is ever given twice."""
        # An alias may have no clock of its own to tell the time by: what it did is the lead's.
        at_ms, old = max(self.at_ms, erased_ms), self.state
        # An address whose answer is on its way may be an alias already, and is listed when that is here.
        for alias in () if old.kin is None else dict.fromkeys((*old.kin.aliases, *old.kin.merging)):
            plan.pass_on(index, EraseAlias(alias, self.name, erased_ms, cause))
        self._leave(index, plan, cause)
        self.state = LeadState(alive=False, erased=erased_ms, sequence=old.sequence, kin=_of_others(old.kin))
        self.publisher.cause = cause
        self.publisher.erased(self.state, at_ms)
        self.publisher.cause = None
        self._begin_anew()
        self.at_ms = self._tick_ms
        self.changed = True
        if offers:
            self._offer_address(cause, index, plan)

    def _idle_until(self, to_ms: int, index: int, plan: Plan) -> bool:
        """Let time pass until *to_ms*; return whether the lead was removed on the way, idle past the grid's `retention`."""
        scorer, state = self.scorer, self.state
        self.changed = True
        while self.at_ms < to_ms:
            stop = int(min(max(ends_ms(scorer, state), self.at_ms + 1), to_ms))
            stages.advance(scorer, state, self.at_ms, stop, self.publisher)
            self.at_ms = stop
            if ends_ms(scorer, state) <= stop and not self._waits():
                plan.removed += 1
                self._remove(index, plan)
                return True
        return False

    def _remove(self, index: int, plan: Plan) -> None:
        """Keep nothing but what keeps ids of outputs from being given twice, and earlier events of an erased lead out."""
        old = self.state
        for alias in () if old.kin is None else old.kin.aliases:
            plan.pass_on(index, EraseAlias(alias, self.name, 0, None))
        self._leave(index, plan, None)
        self.state = LeadState(alive=False, erased=old.erased, sequence=old.sequence, kin=_of_others(old.kin))
        self._begin_anew()
        self.changed = True
        self._offer_address(None, index, plan)

    def tell(self, index: int, plan: Plan, cause: Cause | None) -> None:
        """Tell the owners of the lead's address and of its account what has changed for them, and when time will do so next."""
        state, scorer, accounts = self.state, self.scorer, self.scorer.grid.accounts
        if not state.alive or (self.reading is None and not self._who_changed):
            return
        kin = state.kin
        member = Member() if kin is None or kin.member is None else kin.member
        account, role = member.account, member.role
        if self._who_changed:
            self._who_changed = False
            email, account, role = who(scorer, state)
            if email != ("" if kin is None else kin.email):
                self._tell_address(email, index, plan, cause)
                kin = state.kin
        if not (account or member.account):
            return
        if accounts is None or self.reading is None:
            self.reading = read(scorer, state, self.at_ms)
        if account != member.account:
            self._leave_account(member, index, plan, cause)
            member = Member(account, role)
        score = None if accounts is None else told(accounts, state, self.reading, member)
        if account and (score, role) != (member.score, member.role) and (score is not None or member.score is not None):
            plan.pass_on(index, AccountUpdate(account, self.name, score, role, self.at_ms, cause))
        news = Member(account, role, score, self.at_ms if score != member.score else member.at_ms)
        if kin is None or news != kin.member:
            kin = state.kin = kin or IdentityLinks()
            kin.member = news if account else None
            self.changed = True
        if accounts is not None:
            look = max(next_look_ms(accounts, state, self.reading, news, self.at_ms), self.at_ms + 1)
            if look != inf and (state.due is None or look < state.due):
                state.due = int(look)
                self.changed = True

    def _tell_address(self, email: str, index: int, plan: Plan, cause: Cause | None) -> None:
        """Tell the owner of the address that the lead has now, and of the one that it had."""
        kin = self.state.kin = self.state.kin or IdentityLinks()
        self.changed = True
        if kin.email:
            plan.pass_on(index, AddressRelease(kin.email, self.name, cause=cause))
        kin.email = email
        self._claim(kin, index, plan, cause)

    def _claim(self, kin: IdentityLinks, index: int, plan: Plan, cause: Cause | None, after_ms: int = 0) -> None:
        """Tell the owner of the lead's address that the lead has it, since its trait says so and after *after_ms*."""
        email = kin.email
        if not email or email == self.name:
            return
        link = self._links()
        if link and email not in kin.merging:
            if not kin.merging:
                kin.since = self.at_ms
            kin.merging.append(email)
        told_ms = max(unpack_traits(self.state.traits)["email"].at_ms, after_ms + 1)
        plan.pass_on(index, MergeRequest(email, self.name, told_ms, cause, link))

    def _links(self) -> bool:
        """Return whether an address makes its id the lead's by itself."""
        identity = self.scorer.grid.identity
        return identity is not None and identity.email == "link"

    def _offer(self, item: AddressOffer, index: int, plan: Plan) -> None:
        """Ask once more for the address that nobody else has any more, if it still is the lead's."""
        kin = self.state.kin
        if self.state.alive and kin is not None and kin.email == item.address:
            self._claim(kin, index, plan, item.cause, item.erased_ms)
            self.changed = True

    def _leave(self, index: int, plan: Plan, cause: Cause | None, *, merged: bool = False) -> None:
        """Take back what the owners of the lead's address and account were told; *merged*: this id is an alias now."""
        kin = self.state.kin
        if kin is None:
            return
        if kin.email and kin.email != self.name:
            plan.pass_on(index, AddressRelease(kin.email, self.name, merged, cause))
        if kin.member is not None:
            self._leave_account(kin.member, index, plan, cause)

    def _leave_account(self, member: Member, index: int, plan: Plan, cause: Cause | None) -> None:
        if member.account and member.score is not None:
            plan.pass_on(index, AccountUpdate(member.account, self.name, None, 0, self.at_ms, cause))

    def _share(self, item: AccountUpdate) -> None:
        """Take what a lead of this account told."""
        kin = self.state.kin = self.state.kin or IdentityLinks()
        account = kin.account = kin.account or Account()
        take(account, item.by, None if item.score is None else Member("", item.role, item.score, item.at_ms))
        account.at_ms = max(account.at_ms, item.at_ms)
        self._judge_account(item.cause)

    def _judge_account(self, cause: Cause | None) -> None:
        """Publish that the account became hot or cooled, if it did."""
        state, accounts = self.state, self.scorer.grid.accounts
        kin = state.kin
        if kin is None or (account := kin.account) is None:
            return
        if accounts is not None and is_hot(accounts, account) != account.hot:
            account.hot = not account.hot
            self.publisher.cause = cause
            kind = "account.hot" if account.hot else "account.cooled"
            self.publisher.account(state, account.at_ms, kind, figures(account))
            self.publisher.cause = None
        if not account.members and not account.hot:
            kin.account = None
        self.changed = True

    def _ask_for(self, visitor: str, event: Event, index: int, plan: Plan) -> None:
        """Ask the owner of *visitor* for its past; until that is here, time alone does not move the lead."""
        kin = self.state.kin = self.state.kin or IdentityLinks()
        if visitor not in kin.aliases:
            kin.aliases.append(visitor)
        if visitor not in kin.merging:
            kin.merging.append(visitor)
        plan.pass_on(index, MergeRequest(visitor, self.name, event.at_ms, _cause(event)))

    def _is_for_another(self, item: Event | VisitorHistory, index: int, plan: Plan) -> bool:
        """Pass *item* on if this id is an alias; return whether it was.

        Where aliases lead round in a circle, the id with the smallest mark becomes a lead again, and keeps what comes.
        """
        kin = self.state.kin
        if kin is None or not kin.to:
            return False
        visited, mine = item.visited, lead_mark(self.name)
        circle = visited[visited.index(mine) :] if mine in visited else ()
        if (circle and mine == min(circle)) or len(visited) >= MOST_HOPS:
            plan.pass_on(index, AliasLeft(kin.to, self.name))
            kin.to, kin.told, kin.guessed = "", 0, False
            self.changed = True
            return False
        plan.pass_on(index, msgspec.structs.replace(item, lead=kin.to, visited=(*visited, mine)))
        return True

    def _request(self, item: MergeRequest, index: int, plan: Plan) -> None:
        """Become an alias of the known lead, and give it all that was done here; outputs that were published stay published.

        An alias of another lead goes over to this one with what it does from now on. A visitor that was erased since it was
        told who it is has nothing to give and becomes no alias.
        """
        old, packed, told_ms = self.state, None, 0
        kin = old.kin or IdentityLinks()
        holders: tuple[str, ...] = ()
        if item.link is not None:
            holders = self._claimed(kin, item.by)
            if not item.link:
                if holders:
                    plan.pass_on(index, VisitorHistory(item.by, self.name, None, item.cause, holders=holders))
                return
            if holders or (kin.to not in ("", item.by) and not kin.guessed):
                told_ms = item.at_ms if kin.to == item.by else 0
                plan.pass_on(index, VisitorHistory(item.by, self.name, None, item.cause, holders=holders, told_ms=told_ms))
                return
        if item.at_ms <= old.erased:
            told_ms = kin.told if kin.to == item.by else 0
        else:
            told_ms = item.at_ms
            if kin.to:
                if kin.to != item.by:
                    plan.moved += item.link is None  # else the address changed hands
                    plan.pass_on(index, AliasLeft(kin.to, self.name))
            elif old.alive:
                packed = pack(msgspec.structs.replace(old, kin=None))  # what ties it to others stays here
                self.publisher.cause = item.cause
                self.publisher.merged(old, self.at_ms, self.reading or read(self.scorer, old, self.at_ms), item.by)
                self.publisher.cause = None
            self._leave(index, plan, item.cause, merged=True)
            mine = _of_others(kin) or IdentityLinks()
            mine.told = max(item.at_ms, kin.told if kin.to == item.by else 0)
            mine.to, mine.aliases, mine.guessed = item.by, kin.aliases, bool(item.link) and (kin.guessed or not kin.to)
            self.state = LeadState(alive=False, erased=old.erased, sequence=old.sequence, kin=mine)
            self._begin_anew()
            self.at_ms = self._tick_ms
            self.changed = True
        plan.pass_on(index, VisitorHistory(item.by, self.name, packed, item.cause, told_ms=told_ms))

    def _claimed(self, kin: IdentityLinks, lead: str) -> tuple[str, ...]:
        """Note that *lead* has the address which this id is; return the others that have it."""
        if lead not in kin.holders and len(kin.holders) < MOST_HOLDERS:
            kin.holders.append(lead)
            self.state.kin = kin
            self.changed = True
        return others(kin, lead)

    def _release(self, item: AddressRelease, index: int, plan: Plan) -> None:
        """Strike a lead off those that have the address which this id is; what is its alias for that alone is none any more."""
        kin = self.state.kin
        if kin is None or item.by not in kin.holders:
            return
        kin.holders.remove(item.by)
        self.changed = True
        if item.merged and kin.to:
            return
        if kin.guessed and kin.to == item.by:
            kin.to, kin.told, kin.guessed = "", 0, False
            plan.pass_on(index, AliasLeft(item.by, self.name))
        self._offer_address(item.cause, index, plan)

    def _offer_address(self, cause: Cause | None, index: int, plan: Plan) -> None:
        """Let the one lead that has the address which this id is ask for it, unless a `lead.identified` said whose it is."""
        kin = self.state.kin
        if kin is None or len(kin.holders) != 1 or not self._links():
            return
        if not kin.to or (kin.guessed and kin.to != kin.holders[0]):
            plan.pass_on(index, AddressOffer(kin.holders[0], self.name, self.state.erased, cause))

    def _past(self, item: VisitorHistory, index: int, plan: Plan) -> None:
        """Take what a visitor did as if the lead had done it, and judge the lead from where it stood judged on."""
        if not item.visited:
            self._hold_alias(item, index, plan)
        if self._is_for_another(item, index, plan):
            return
        state, scorer = self.state, self.scorer
        since = state.kin.since if state.kin is not None and self._waits() else self.at_ms
        if state.kin is not None and item.visitor in state.kin.merging:
            state.kin.merging.remove(item.visitor)
        self.changed = True
        visitor = None if item.state is None else unpack(item.state)
        if visitor is not None and state.erased and not _began_after(visitor, state.erased):
            plan.dropped += 1
            visitor = None
        if visitor is not None:
            plan.merged += 1
            keep_counted(scorer, visitor)
            if not state.alive:
                state.alive = True
                state.grid = scorer.tag
                since = max(self.at_ms, visitor.clock)
            elif since < (last := max((at_ms for at_ms, _, _ in open_(visitor.recent)), default=0)):
                # Nothing counts before it happened, so both are judged as one from what the visitor did last.
                if since < state.respond_by < last:
                    stages.breach(state, state.respond_by, read(scorer, state, state.respond_by), self.publisher)
                since = last
            merge(scorer, state, visitor)
            self._who_changed = True
        if not state.alive:
            return
        self.publisher.cause = item.cause
        known = () if state.kin is None else state.kin.aliases
        held_by = [holder for holder in item.holders if holder != self.name and holder not in known]
        if held_by:
            self.publisher.duplicate(state, self.at_ms, item.visitor.partition(":")[2], held_by)
        end = max(self.at_ms, state.clock)
        self.at_ms = since
        self._judge()
        self.publisher.cause = None
        stages.advance(scorer, state, since, end, self.publisher)
        self.at_ms = end
        self._judge()
        if state.kin is not None:
            state.kin.since = end

    def _hold_alias(self, item: VisitorHistory, index: int, plan: Plan) -> None:
        """List the visitor among the aliases exactly if it is one: an erasure must reach all of them, and nobody else's."""
        if item.told_ms is None:
            return
        self.changed = True
        known = [] if self.state.kin is None else self.state.kin.aliases
        if item.told_ms > self.state.erased:
            self.state.kin = self.state.kin or IdentityLinks()
            if item.visitor not in known:
                self.state.kin.aliases.append(item.visitor)
        elif item.visitor not in known:
            if item.told_ms:  # it became an alias on the eve of the erasure, which did not know
                plan.pass_on(index, EraseAlias(item.visitor, self.name, self.state.erased, item.cause))
        elif not item.told_ms:
            known.remove(item.visitor)

    def _parted(self, item: AliasLeft) -> None:
        """Strike an alias that went over to another lead off the list, unless it has been asked for again."""
        kin = self.state.kin
        if kin is not None and item.alias in kin.aliases and item.alias not in kin.merging:
            kin.aliases.remove(item.alias)
            self.changed = True

    def _forget(self, item: EraseAlias, index: int, plan: Plan) -> None:
        """Go with the lead that this id is an alias of; one that is another's by now, or nobody's, stays."""
        kin = self.state.kin
        if kin is None or kin.to != item.by:
            return
        if item.at_ms and kin.told > item.at_ms:
            # Told after an erasure that came late: still an alias, of a lead that has just forgotten all of its own.
            plan.pass_on(index, VisitorHistory(item.by, self.name, None, item.cause, told_ms=kin.told))
            return
        if item.at_ms:
            self._erase(item.at_ms, item.cause, index, plan)
        else:
            self._remove(index, plan)
            plan.pass_on(index, AliasLeft(item.by, self.name))  # which follows whatever said on the way that it is an alias

    def tick(self, at_ms: int, plan: Plan) -> None:
        """Judge the lead at every instant up to and including *at_ms* at which time alone changes the answer."""
        state, scorer = self.state, self.scorer
        if state.kin is not None and state.kin.account is not None:
            self._judge_account(None)  # as another grid asks for
            self.changed = True
        if not state.alive:
            return
        if self._waits():
            self.changed = True  # which takes the lead off `due` until it stops waiting
            return
        if at_ms > self.at_ms:
            if scorer.retention is not None and self._idle_until(at_ms, 0, plan):
                return
            stages.advance(scorer, state, self.at_ms, at_ms, self.publisher)
            # Kept, because a tick is applied in slices: after a crash between two, events come before the tick's last slice.
            self.at_ms = state.clock = at_ms
        self.reading = read(scorer, state, self.at_ms)
        self._schedule(stages.exact_due(scorer, state, self.reading, self.at_ms))
        self.changed = True

    def write(self) -> LeadWrite:
        """Return what is to be stored of the lead."""
        state = self.state
        if state.kin is not None and state.kin == IdentityLinks():
            state.kin = None
        if not state.alive:
            account = None if state.kin is None else state.kin.account
            rank = None if account is None else total(account)
            return LeadWrite(self.name, b"" if is_nothing(state) else pack(state), "", "", "", "", "", "", None, rank)
        if SINCE in state.bars:
            drop_if_over(self.scorer, state, self.at_ms)
        reading = self._catch_up()
        return LeadWrite(
            self.name,
            pack(state),
            _decimal(reading.score),
            _decimal(reading.fit),
            _decimal(reading.engagement),
            STAGES[state.stage],
            self.scorer.grade(reading.fit, reading.engagement) or "",
            rfc3339(self.at_ms),
            None if self._waits() else state.due,
            reading.highest,
        )


def plan_events(
    scorer: CompiledGrid,
    before: Mapping[str, bytes | None],
    items: Sequence[Item],
    clock_ms: int | None,
    most: float = inf,
    *,
    find: Callable[[str], bytes | None] | None = None,
) -> Plan:
    """Fold *items*, in order, into the leads' packed states *before* them, until what they make comes to *most* bytes.

    *before* holds the lead of each of *items* (`None`: not held yet), or of the first of them, and it ends there; *clock_ms*
    is the partition's last tick. With *find*, which gives the state of any lead, what is passed on is taken at once: all leads
    are this partition's. Raises `UnreadableState` for a state that this version cannot read.
    """
    plan = Plan()
    outputs, moves, cause = plan.outputs, plan.moves, plan.cause
    leads: dict[str, Lead] = {}
    for index, item in enumerate(items):
        lead = leads.get(item.lead)
        if lead is None:
            if item.lead not in before:
                break
            lead = leads[item.lead] = Lead(scorer, item.lead, before[item.lead], clock_ms, outputs, moves, cause)
        _take(lead, item, index, plan)
        while find is not None and plan.passed_on:
            _, passed = plan.passed_on.pop(0)
            if passed.lead not in leads:
                leads[passed.lead] = Lead(scorer, passed.lead, find(passed.lead), clock_ms, outputs, moves, cause)
            _take(leads[passed.lead], passed, index, plan)
        plan.taken = index + 1
        if plan.full(most):
            break
    plan.writes = [lead.write() for lead in leads.values() if lead.changed]
    return plan


def _take(lead: Lead, item: Item, index: int, plan: Plan) -> None:
    try:
        lead.take(item, index, plan)
        if lead.scorer.ties or lead.state.kin is not None:
            lead.tell(index, plan, _cause(item) if type(item) is Event else getattr(item, "cause", None))
    except Exception as err:
        err.add_note(_whose(lead))
        raise


def plan_tick(
    scorer: CompiledGrid, before: Mapping[str, bytes | None], tick_ms: int, clock_ms: int | None, most: float = inf
) -> Plan:
    """Judge the leads of *before*, which are due, at a tick, until the outputs come to *most* bytes.

    *clock_ms* is the tick before it.
    """
    plan = Plan()
    leads: list[Lead] = []
    for name, packed in before.items():
        lead = Lead(scorer, name, packed, clock_ms, plan.outputs, plan.moves)
        try:
            lead.tick(tick_ms, plan)
            if scorer.ties or lead.state.kin is not None:
                lead.tell(0, plan, None)
        except Exception as err:
            err.add_note(_whose(lead))
            raise
        leads.append(lead)
        if plan.full(most):
            break
    plan.taken = len(leads)
    plan.writes = [lead.write() for lead in leads if lead.changed]
    return plan


def _began_after(state: LeadState, at_ms: int) -> bool:
    """Return whether all that the state holds is known to be later than *at_ms*: by its last events, if they are all.

    Traits are asked as well: those that a machine told are not among the last events.
    """
    held = open_(state.recent)
    told = (write.at_ms for write in unpack_traits(state.traits).values())
    return 0 < len(held) < RECENT_KEPT and held[0][0] > at_ms and all(told_ms > at_ms for told_ms in told)


def _of_others(kin: IdentityLinks | None) -> IdentityLinks | None:
    """Return what an id holds that is not about itself: the leads that have its address, or that are its company's."""
    if kin is None or not (kin.holders or kin.account):
        return None
    return IdentityLinks(holders=kin.holders, account=kin.account)


def _cause(event: Event) -> Cause:
    return Cause(event.topic, event.partition, event.offset, event.id)


def _whose(lead: Lead) -> str:
    """Return where to look when the fold fails, which no event can bring about: most likely at what is stored of the lead."""
    return f"while the lead with mark {shown_mark(lead.name)} was folded: its state in Redis may be damaged, {WHAT_TO_DO}"


def _decimal(value: float) -> str:
    """Return a number as people read it in Redis; nine decimals hide float dust and no points."""
    return repr(round(value, 9) + 0.0)
