"""What is kept of a lead: counts and sums, never points.

Points, caps, clamps, steps and thresholds are applied when a score is read, so a new grid is in force at once. What is kept
under a *key* is what was counted: the key is a hash of the rule's `on`, `where`, `once_per` and half-life, not of its id or
points, so that a rule renamed or worth other points keeps its past.

Every part is bounded: 64 event ids, 64 values a rule, 90 days a velocity rule, 20 recent events, 20 moves, 64 kB of traits. So
is the whole: no packed state under a grid with R engagement rules, V velocity rules and X exclusions by event is longer than
`most_bytes(R, V, X)`, 112,800 + 815 R + 705 V + 20 X bytes: 132,885 for `saas-b2b.yaml`, of which 33,000 are ids of aliases.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Final

import msgspec

from worker.core.contract.errors import Ends, LeadPulseError
from worker.core.scoring.migrations import migrated

FOLD_VERSION: Final = 7
"""Version of what a fold computes. A batch is folded again only by the version that folded it first."""

STATE_VERSION: Final = 6
"""Version of the packed layout. Older states are migrated when they are read, and written as this one when next touched."""

ALIASES_LIMIT_BYTES: Final = 16_384
"""Of the ids of a lead's aliases, together."""
IDS_KEPT: Final = 64
HISTORY_KEPT: Final = 20

STAGES: Final = ("contact", "mql", "sql", "opportunity", "client", "excluded")
CONTACT, MQL, SQL, OPPORTUNITY, CLIENT, EXCLUDED = range(6)

_EMPTY_LIST: Final = msgspec.Raw(msgspec.msgpack.encode([]))


class Count(msgspec.Struct, array_like=True, gc=False):
    """The occurrences of one rule."""

    n: int = 0
    last: int = 0
    """The latest matching event, counted or a repeat."""
    sum: int | float = 0
    """Σ 2^(−(last − t_i)/half-life) over the occurrences; unused without a half-life. 1 is an integer: 1 byte instead of 9."""
    seen: bytes = b""
    """`once_per`: each value's mark and its occurrence's instant, by rising instant, as the module `once_per` packs them."""


class VelocityWindow(msgspec.Struct, array_like=True, gc=False):
    """The days on which a velocity rule's events happened."""

    day: int = 0
    """The calendar day of the latest match; what follows counts back from it."""
    days: bytes = b""
    """By kind: a bitmap (bit i: a match i days before), 4-byte counts, or marks of sessions, day by day."""


class Member(msgspec.Struct, array_like=True, gc=False):
    """What a lead last told its account, kept by both."""

    account: str = ""
    """Of the lead's own: its account's id, empty for none. In the account: empty."""
    role: int = 0
    """Place of its decision role in `worker.core.identity.accounts.ROLES`, from 1 on; 0: another, or none."""
    score: float | None = None
    """`None`: it does not count, being excluded or below `active`."""
    at_ms: int = 0
    """Its clock then."""


class Account(msgspec.Struct, array_like=True):
    """The leads of one company."""

    hot: bool = False
    at_ms: int = 0
    """The latest clock of a lead that told something."""
    members: dict[str, Member] = {}


class IdentityLinks(msgspec.Struct, frozen=True, array_like=True):
    """What links an id to other ids of the same person or company. A value: a change makes a new one."""

    alias_of: str = ""
    """The lead that this id is an alias of. Nothing is counted here, everything is forwarded to that lead. Empty: none."""
    aliases: tuple[str, ...] = ()
    """The ids that are aliases of this one, in the order in which they were linked."""
    awaiting: tuple[str, ...] = ()
    """Ids whose history was requested and has not arrived. Until it arrives, time alone does not move the lead."""
    judged_until_ms: int = 0
    """While the lead waits: the instant up to which it is judged."""
    email: str = ""
    """The id `email:ADDRESS` whose owner knows that the lead has this address."""
    member: Member | None = None
    """What the lead last reported to its account."""
    address_holders: tuple[str, ...] = ()
    """Of an id `email:ADDRESS`: the leads that have that address, in the order of their reports."""
    linked_at_ms: int = 0
    """The time of the `lead.identified` that made the id an alias. An erasure of that lead before then does not concern it."""
    by_address: bool = False
    """The id is an alias because of the lead's address alone: it is one for as long as the lead has that address."""
    account: Account | None = None
    """Of an id `account:DOMAIN`: its leads."""


NO_LINKS: Final = IdentityLinks()


class Phase(msgspec.Struct, frozen=True, array_like=True):
    """The buying phase that a lead is in. A value: a change makes a new one."""

    phases: int = 0
    """Tag of the grid's `phases` that judged it. Under other ones the lead is put into its phase without an output."""
    name: str = ""
    """Empty: the score is below every phase."""


class LeadState(msgspec.Struct, array_like=True):
    """One lead. Instants are ms; 0 stands for 'never' (events before 1970 are refused at the door)."""

    version: int = STATE_VERSION
    grid: int = 0
    """Tag of the grid and tables by which `fit`, `barred`, `due` and the stage hold; others judge the lead again."""
    stage: int = CONTACT
    sequence: int = 0
    clock: int = 0
    """The latest of the lead's event times, and of the ticks that judged it."""
    active: int = 0
    """The latest activity."""
    erased: int = 0
    """Events up to this instant stay dropped."""
    alive: bool = True
    """False: only the mark of an erasure is held, or an alias."""
    fit: float = 0.0
    """Clamped fit of the traits under `grid`."""
    barred: bool = False
    """An exclusion by traits holds under `grid`."""
    due: int | None = None
    """Not later than the next instant at which time alone moves the lead."""
    crm: int = 0
    """The latest `crm.*` event."""
    closed: int = 0
    """The `crm.rejected` or `crm.lost` that closed the ladder."""
    mql_at: int = 0
    sql_at: int = 0
    """When `lead.mql`, `lead.sql` were last published under that name."""
    respond_by: int = 0
    """The SLA that is pending."""
    ids: bytes = b""
    """Marks of the last 64 (source, id), oldest first."""
    counts: dict[int, Count] = {}
    velocity: dict[int, VelocityWindow] = {}
    bars: dict[int, int] = {}
    """Exclusions by event: key → the first instant."""
    traits: msgspec.Raw = _EMPTY_LIST
    """Packed by `worker.core.scoring.traits`; opened only when they change or go out."""
    recent: list[Any] = []
    """Flat, as `worker.core.scoring.packing` writes it: (instant, type, label) of the last 20 events, by rising instant."""
    history: msgspec.Raw = _EMPTY_LIST
    """The last moves, as `pack_moves` writes them."""
    links: IdentityLinks | None = None
    """As packed: `None` for nearly every lead. Read and set `identity` instead."""
    phase: Phase | None = None
    """`None`: no grid with `phases` has judged the lead's phase."""

    @property
    def identity(self) -> IdentityLinks:
        """The lead's links to other ids; `NO_LINKS` where it has none."""
        return self.links or NO_LINKS

    @identity.setter
    def identity(self, links: IdentityLinks) -> None:
        self.links = None if links == NO_LINKS else links


def is_nothing(state: LeadState) -> bool:
    """Return whether *state* says no more than a lead that was never heard of."""
    return not (state.alive or state.erased or state.sequence or state.identity != NO_LINKS)


_encoder = msgspec.msgpack.Encoder()
_FIELDS: Final = len(LeadState.__struct_fields__)
_HEADERS: Final = tuple(b"\xdc" + (_FIELDS - unused).to_bytes(2, "big") for unused in range(3))
"""The first bytes of a packed array of so many fields fewer: msgpack's `array 16`."""
_decoder = msgspec.msgpack.Decoder(LeadState)
_any = msgspec.msgpack.Decoder()


WHAT_TO_DO: Final = (
    "restore a copy of Redis, or delete the partition's keys and fill it again from the topics with `leadpulse rebuild`"
)
"""About a state that is damaged. Its lead cannot begin anew alone: it would number its outputs from 1 once more."""


class UnreadableState(LeadPulseError):
    """The packed state is not one that this version can read."""

    ends = Ends.WORKER


def pack(state: LeadState) -> bytes:
    """Return *state* as bytes; `unpack` gives it back bit for bit."""
    # Small numbers are short in msgpack: instants travel as ms before the clock, whole floats as integers.
    clock, recent, counts = state.clock, state.recent, state.counts.values()
    fit, due, active, mql_at, sql_at = state.fit, state.due, state.active, state.mql_at, state.sql_at
    state.fit = int(fit) if float(fit).is_integer() else fit
    _turn(state)
    packed = _encoder.encode(state)
    if state.phase is None:
        packed = _without_last(packed, 1 if state.links is not None else 2)
    # Put back rather than turned back: every lead of a batch comes by here.
    for count in counts:
        count.last = clock - count.last
    if recent:
        recent[0] = clock - recent[0]
    state.fit, state.due, state.active, state.mql_at, state.sql_at = fit, due, active, mql_at, sql_at
    return packed


def _without_last(packed: bytes, unused: int) -> bytes:
    """Return *packed* without its last *unused* fields, each of them a `None` of one byte. `unpack` puts them back."""
    return _HEADERS[unused] + packed[3:-unused]


def unpack(packed: bytes) -> LeadState:
    """Return the state that *packed* holds, whichever version packed it.

    Raises `UnreadableState` when that was a newer version, or when it is damaged.
    """
    try:
        state = _decoder.decode(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        state = None
    if state is None or state.version != STATE_VERSION:
        state = _unpack_other(packed)
    try:
        _turn(state)
    except TypeError as err:
        raise UnreadableState(f"the packed state is damaged ({err}): {WHAT_TO_DO}") from err
    return state


def _turn(state: LeadState) -> None:
    """Turn instants to ms before the clock, or back. One that is 0 for 'never' stays so: of the others the clock's own is 1.

    An event that came after its partition's tick is judged at the tick's instant, so an output may be later than the lead's own
    clock. The one that is 1 ms later would turn to 0; it trades places with what nothing else turns to.
    """
    clock = state.clock
    for count in state.counts.values():
        count.last = clock - count.last
    if recent := state.recent:
        recent[0] = clock - recent[0]
    if (due := state.due) is not None:
        state.due = clock - due
    if active := state.active:
        state.active = clock + 1 - active
    if mql_at := state.mql_at:
        state.mql_at = clock + 1 - mql_at or clock + 1
    if sql_at := state.sql_at:
        state.sql_at = clock + 1 - sql_at or clock + 1


def _unpack_other(packed: bytes) -> LeadState:
    """Return what a state of another version becomes in this one."""
    try:
        fields = _any.decode(packed)
        version = fields[0]
        if 1 <= version <= STATE_VERSION:
            return _decoder.decode(migrated(fields, STATE_VERSION))
    except (msgspec.MsgspecError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as err:
        raise UnreadableState(f"the packed state is damaged or of another version ({err}): {WHAT_TO_DO}") from err
    raise UnreadableState(
        f"the packed state has version {version}, this worker reads {STATE_VERSION}: run the one that wrote it"
    )


def most_bytes(rules: int, velocities: int, exclusions: int) -> int:
    """Return the length in bytes that no packed state passes under a grid with so many of each.

    A rule: 64 values of 12 bytes and one, key and sums. A velocity rule: 7 days of 16 sessions, 6 bytes each. An exclusion: key
    and instant. The rest: 65,536 of traits; 20 labels of 60 characters of 4 bytes, with their instants; 64 ids; 20 moves;
    16,384 of aliases, all of which may be awaited; the plain fields. An alias's mark holds an id of 65,536 bytes at most, and
    no traits. What a change of the grid set aside: 8,192. The id of an account holds up to 45,000 bytes more: 500 leads with
    32,768 bytes of ids. That of an address, 16 ids of leads.
    """
    return 112_800 + 815 * rules + 705 * velocities + 20 * exclusions


def pack_list(items: list[Any]) -> msgspec.Raw:
    """Pack a part that most events leave alone, so that it travels unopened."""
    return msgspec.Raw(_encoder.encode(items))


def unpack_list(raw: msgspec.Raw) -> list[Any]:
    """Open what `pack_list` packed."""
    items: list[Any] = _any.decode(raw)
    return items


def pack_moves(moves: list[tuple[int, int]]) -> msgspec.Raw:
    """Pack (stage, instant) of each move, oldest first: flat, each instant but the first as ms since the one before it."""
    flat: list[int] = []
    before = 0
    for stage, at_ms in moves:
        flat += (stage, at_ms - before)
        before = at_ms
    return pack_list(flat)


def unpack_moves(raw: msgspec.Raw) -> list[tuple[int, int]]:
    """Open what `pack_moves` packed."""
    flat = unpack_list(raw)
    return list(zip(flat[::2], accumulate(flat[1::2]), strict=True))
