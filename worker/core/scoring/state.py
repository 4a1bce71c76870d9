"""The state of a lead: counts and sums, never points.

Points, caps, clamps, steps and thresholds are applied when a score is read, so a new grid is in force at once. Counts are kept
under a *key*, a hash of the rule's `on`, `where`, `once_per` and half-life. Id and points are not in it. So a rule that gets
another name or other points keeps its past.

Every part is bounded: 64 event ids, 64 values a rule, 90 days a velocity rule, 20 recent events, 20 moves. Traits take 64 kB
at most. The whole is bounded too. Take a grid with R engagement rules, V velocity rules and X exclusions by event. No packed
state under it is longer than `most_bytes(R, V, X)`, 113,210 + 815 R + 705 V + 20 X bytes. That is 133,295 for `saas-b2b.yaml`,
of which 33,000 are ids of aliases. Rules with `weigh`, `linear`, `window`, `depth` or `until` have bounds of their own there.
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
    last_ms: int = 0
    """The latest matching event, counted or a repeat."""
    sum: int | float = 0
    """Σ 2^(−(last_ms − t_i)/half-life) over the occurrences; unused without a half-life. The integer 1 takes 1 byte, not 9."""
    seen: bytes = b""
    """For `once_per`: the mark of each value and the instant of its occurrence, packed by the module `once_per`."""


class VelocityWindow(msgspec.Struct, array_like=True, gc=False):
    """The days on which a velocity rule's events happened."""

    day: int = 0
    """The calendar day of the latest match. `days` counts back from it."""
    days: bytes = b""
    """By kind: a bitmap (bit i: a match i days before), counts of 4 bytes, or marks of sessions, day by day."""


class Member(msgspec.Struct, array_like=True, gc=False):
    """What a lead last reported to its account. Both keep it."""

    account: str = ""
    """In the lead's own state: the id of its account, empty for none. In the account's: empty."""
    role: int = 0
    """Place of its decision role in `worker.core.identity.accounts.ROLES`, from 1 on. 0: another role, or none."""
    score: float | None = None
    """`None`: the lead does not count, because it is excluded or below `active`."""
    at_ms: int = 0
    """The lead's clock at the report."""


class Account(msgspec.Struct, array_like=True):
    """The leads of one company."""

    hot: bool = False
    at_ms: int = 0
    """The latest clock of a lead that reported something."""
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
    """One lead. Instants are ms; 0 stands for 'never', because the codec refuses events before 1970."""

    version: int = STATE_VERSION
    grid: int = 0
    """Tag of the grid and tables by which `fit`, `excluded_by_traits`, `due_ms` and the stage hold. Others judge it again."""
    stage: int = CONTACT
    sequence: int = 0
    clock_ms: int = 0
    """The latest of the lead's event times and of the ticks that judged it."""
    active_ms: int = 0
    """The time of the latest activity."""
    erased_ms: int = 0
    """Events up to this instant are dropped, because the lead was erased."""
    alive: bool = True
    """False: only the mark of an erasure or of an alias is kept."""
    fit: float = 0.0
    """The clamped fit of the traits under `grid`."""
    excluded_by_traits: bool = False
    """An exclusion by traits holds under `grid`."""
    due_ms: int | None = None
    """Not later than the next instant at which time alone moves the lead. `None`: time alone does not move it."""
    crm_ms: int = 0
    """The time of the latest `crm.*` event."""
    closed_ms: int = 0
    """The time of the `crm.rejected` or `crm.lost` that closed the ladder."""
    mql_at_ms: int = 0
    sql_at_ms: int = 0
    """When `lead.mql`, `lead.sql` were last published under that name."""
    respond_by_ms: int = 0
    """When the pending SLA ends."""
    ids: bytes = b""
    """The marks of the last 64 (source, id), oldest first."""
    counts: dict[int, Count] = {}
    velocity: dict[int, VelocityWindow] = {}
    exclusions: dict[int, int] = {}
    """Exclusions by event: key → the time of the first matching event."""
    traits: msgspec.Raw = _EMPTY_LIST
    """Packed by `worker.core.scoring.traits`, and opened only when they change or are published."""
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
    """Return whether *state* holds no more than that of a lead without any event."""
    return not (state.alive or state.erased_ms or state.sequence or state.identity != NO_LINKS)


_encoder = msgspec.msgpack.Encoder()
_FIELDS: Final = len(LeadState.__struct_fields__)
_HEADERS: Final = tuple(b"\xdc" + (_FIELDS - unused).to_bytes(2, "big") for unused in range(3))
"""The first bytes of a packed array of so many fields fewer: msgpack's `array 16`."""
_decoder = msgspec.msgpack.Decoder(LeadState)
_any = msgspec.msgpack.Decoder()


WHAT_TO_DO: Final = (
    "restore a copy of Redis, or delete the partition's keys and fill it again from the topics with `leadpulse rebuild`"
)
"""The remedy for a damaged state. The lead alone cannot begin anew, because it would number its outputs from 1 again."""


class UnreadableState(LeadPulseError):
    """This version cannot read the packed state."""

    ends = Ends.WORKER


def pack(state: LeadState) -> bytes:
    """Return *state* as bytes, from which `unpack` restores it bit for bit."""
    # Small numbers are short in msgpack. So instants are packed as ms before the clock, and whole floats as integers.
    clock_ms, recent, counts = state.clock_ms, state.recent, state.counts.values()
    fit, due_ms, active_ms = state.fit, state.due_ms, state.active_ms
    mql_at_ms, sql_at_ms = state.mql_at_ms, state.sql_at_ms
    state.fit = int(fit) if float(fit).is_integer() else fit
    _turn(state)
    packed = _encoder.encode(state)
    if state.phase is None:
        packed = _without_last(packed, 1 if state.links is not None else 2)
    # To restore the values is faster than to turn them back, and every lead of a batch is packed.
    for count in counts:
        count.last_ms = clock_ms - count.last_ms
    if recent:
        recent[0] = clock_ms - recent[0]
    state.fit, state.due_ms, state.active_ms = fit, due_ms, active_ms
    state.mql_at_ms, state.sql_at_ms = mql_at_ms, sql_at_ms
    return packed


def _without_last(packed: bytes, unused: int) -> bytes:
    """Return *packed* without its last *unused* fields, each of them a `None` of one byte. `unpack` puts them back."""
    return _HEADERS[unused] + packed[3:-unused]


def unpack(packed: bytes) -> LeadState:
    """Return the state that *packed* holds, whichever version packed it.

    Raises `UnreadableState` for a state of a newer version, and for a damaged one.
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
    """Turn instants to ms before the clock, or back. 0, which means 'never', stays 0, so 1 stands for the clock itself.

    An event that comes after its partition's tick is judged at the tick's instant. So an output may be later than the lead's
    own clock. An output 1 ms later would turn to 0. It becomes `clock_ms + 1`, which stands for no other instant.
    """
    clock_ms = state.clock_ms
    for count in state.counts.values():
        count.last_ms = clock_ms - count.last_ms
    if recent := state.recent:
        recent[0] = clock_ms - recent[0]
    if (due_ms := state.due_ms) is not None:
        state.due_ms = clock_ms - due_ms
    if active_ms := state.active_ms:
        state.active_ms = clock_ms + 1 - active_ms
    if mql_at_ms := state.mql_at_ms:
        state.mql_at_ms = clock_ms + 1 - mql_at_ms or clock_ms + 1
    if sql_at_ms := state.sql_at_ms:
        state.sql_at_ms = clock_ms + 1 - sql_at_ms or clock_ms + 1


def _unpack_other(packed: bytes) -> LeadState:
    """Return a state of another version, migrated to this one."""
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


def most_bytes(rules: int, velocities: int, exclusions: int, *, apart: int = 0, depths: int = 0, lifted: int = 0) -> int:
    """Return the most bytes that a packed state takes under a grid with so many of each.

    - A rule: 64 values of 12 bytes and one, key and sums.
    - A velocity rule: 7 days of 16 sessions, 6 bytes each.
    - An exclusion: key and instant.
    - More for *apart* of the rules, with `weigh`, `linear` or `window`: 64 occurrences of 20 bytes instead.
    - More for *depths* of the velocity rules, with `depth`: 7 bytes a session instead.
    - More for *lifted* of the exclusions, with `until`: one more key and instant.
    - Traits: 65,536. A mark of an alias has none, and holds an id of 65,536 bytes at most.
    - 20 labels of 60 characters of 4 bytes, with their instants. 64 ids, 20 moves and the plain fields.
    - A phase: 100 characters of 4 bytes, and its tag.
    - Ids of aliases: 16,384, all of which may be awaited.
    - Counts set aside after a change of the grid: 8,192.
    - Up to 45,000 more for the id of an account: 500 leads with 32,768 bytes of ids. The id of an address has 16 ids of leads.
    """
    return 113_210 + 815 * rules + 705 * velocities + 20 * exclusions + 511 * apart + 112 * depths + 20 * lifted


def pack_list(items: list[Any]) -> msgspec.Raw:
    """Pack a part of the state that most events do not change, so that it is copied unopened."""
    return msgspec.Raw(_encoder.encode(items))


def unpack_list(raw: msgspec.Raw) -> list[Any]:
    """Return the list that `pack_list` packed."""
    items: list[Any] = _any.decode(raw)
    return items


def pack_moves(moves: list[tuple[int, int]]) -> msgspec.Raw:
    """Pack (stage, instant) of each move, oldest first.

    The list is flat. Each instant but the first is packed as ms since the instant before it.
    """
    flat: list[int] = []
    before = 0
    for stage, at_ms in moves:
        flat += (stage, at_ms - before)
        before = at_ms
    return pack_list(flat)


def unpack_moves(raw: msgspec.Raw) -> list[tuple[int, int]]:
    """Return the moves that `pack_moves` packed."""
    flat = unpack_list(raw)
    return list(zip(flat[::2], accumulate(flat[1::2]), strict=True))
