"""The values that flow through the worker: records in, events, outputs.

Instants are whole milliseconds since 1970-01-01T00:00Z (`*_ms`), as in Kafka.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

import msgspec

Headers = tuple[tuple[str, bytes], ...]
_Instant = Annotated[int, msgspec.Meta(ge=0, le=253_370_764_800_000)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Record(NamedTuple):
    """One Kafka record, or one line of a file, as it came."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    """The record's own Kafka timestamp; `None` where there is none (a line of a file)."""
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Unread(Record):
    """The place of a record whose batch cannot be read (`worker.core.contract.unread`). It has no key, value or headers."""

    first: int
    """The first offset that this place stands for; `offset` is the last. They differ only where a batch has very many."""
    base: int
    """The first offset of the batch."""
    reason: str
    detail: str

    @classmethod
    def at(cls, topic: str, partition: int, offset: int, *, first: int, base: int, reason: str, detail: str) -> Unread:
        """Return the place at *offset*."""
        place = cls(topic, partition, offset, None, None, None)
        place.first, place.base, place.reason, place.detail = first, base, reason, detail
        return place


class Event(msgspec.Struct, frozen=True, gc=False):
    """A valid event of a known type: something a lead did, or that was learnt about them."""

    lead: str
    type: str
    at_ms: int
    id: str
    source: str
    data: dict[str, Any]
    machine: bool
    """Made by a machine (mail privacy proxy, link scanner): scores nothing, is no activity."""
    topic: str
    partition: int
    offset: int
    """Where the producer wrote it; a forwarded stray keeps its first coordinates."""
    visited: tuple[int, ...] = ()
    """Marks of the ids under which it came before it was forwarded to `lead`, whose aliases they are. Not the ids: 64 of the
    longest would take more than a record holds."""


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be an event. It goes to `lead.dead` as it came."""

    record: Record
    reason: str
    """A short code from a closed set (`not_json`, `no_subject`, …): a metric's label."""
    detail: str
    """What is wrong, where, and what was expected, for the person who mends the producer."""


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """A valid CloudEvent of a type that LeadPulse does not know: counted and passed over."""

    type: str
    lead: str


class Tombstone(msgspec.Struct, frozen=True, gc=False):
    """A record without a value: a compacted topic's mark that a key was deleted. Counted and passed over."""


Decoded = Event | Rejected | Unknown | Tombstone


class Cause(NamedTuple):
    """The input record that brought something about."""

    topic: str
    partition: _Number
    offset: _Number
    id: str
    """The event's."""


class MergeRequest(msgspec.Struct, frozen=True, array_like=True, tag="request", gc=False):
    """To the owner of the visitor `lead`: who it was is known now. Its past is wanted, and what it does from now on."""

    lead: str
    by: str
    """The known lead."""
    at_ms: _Instant
    """The time of the `lead.identified`, or of the trait `email`."""
    cause: Cause | None
    link: bool | None = None
    """`None`: it is known. Else it is the lead's address that says so: only where no other lead has it, and the lead waits for
    an answer (`True`); or never, only another lead that has it is to be told (`False`)."""


class VisitorHistory(msgspec.Struct, frozen=True, array_like=True, tag="past", gc=False):
    """To the owner of the known `lead`: what a visitor of its did until now."""

    lead: str
    visitor: str
    state: bytes | None
    """As the visitor's owner held it; `None`: nothing, or it has gone to another lead before."""
    cause: Cause | None
    visited: tuple[int | str, ...] = ()
    """As of `Event`. Journals of older versions hold the ids themselves; `decode_entry` turns them to marks."""
    told_ms: _Instant | None = None
    """By a `lead.identified` of which time the visitor is an alias of `lead` now; 0: it is none. `None`: an older version."""
    holders: tuple[str, ...] = ()
    """Other leads that have the address which the visitor is."""


class AliasLeft(msgspec.Struct, frozen=True, array_like=True, tag="parted", gc=False):
    """To the owner of the known `lead`: an alias of it is none any more, it went over to another lead."""

    lead: str
    alias: str


class AddressRelease(msgspec.Struct, frozen=True, array_like=True, tag="release", gc=False):
    """To the owner of the id `email:ADDRESS`: the lead `by` has that address no more."""

    lead: str
    by: str
    merged: bool = False
    """Because `by` is an alias of another lead now, which says by itself that it has the address."""
    cause: Cause | None = None


class AddressOffer(msgspec.Struct, frozen=True, array_like=True, tag="offer", gc=False):
    """To the owner of the known `lead`: it alone has the address now. It may ask for the id `email:ADDRESS` once more."""

    lead: str
    address: str
    """That id."""
    erased_ms: _Instant
    """Until when it is erased; 0: it never was."""
    cause: Cause | None


class AccountUpdate(msgspec.Struct, frozen=True, array_like=True, tag="share", gc=False):
    """To the owner of the id `account:DOMAIN`: what the lead `by` adds to it from now on."""

    lead: str
    by: str
    score: float | None
    """`None`: nothing."""
    role: Annotated[int, msgspec.Meta(ge=0, le=4)]
    at_ms: _Instant
    """The lead's clock."""
    cause: Cause | None
    """The event that brought it about; `None`: time."""


class EraseAlias(msgspec.Struct, frozen=True, array_like=True, tag="forget", gc=False):
    """To the owner of the alias `lead`: the lead `by` that it stands for is gone, and the alias goes with it."""

    lead: str
    by: str
    at_ms: _Instant
    """When `by` was erased; 0: it was idle past the grid's `retention`."""
    cause: Cause | None


Message = MergeRequest | VisitorHistory | AliasLeft | AddressRelease | AddressOffer | AccountUpdate | EraseAlias
"""What the owner of one id says to the owner of another, once and in order, through the journal."""

MESSAGES: Final[dict[type, str]] = {
    MergeRequest: "request", VisitorHistory: "past", AliasLeft: "parted", EraseAlias: "forget",
    AddressRelease: "release", AddressOffer: "offer", AccountUpdate: "share",
}  # fmt: skip
"""What each is called, in the journal and in metrics."""

Item = Event | Message
"""What a batch folds; `lead` names the one whose state it is for."""


MOST_OUTPUT_BYTES: Final = 2_000_000
"""Of one output: value, key, and headers with their lengths. Topics of ours take 2 MiB, which leaves 97 kB for the batch's own
bytes. Nothing longer leaves the fold (`worker.core.batch.sizes`), because no broker would take it."""


class Output(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record to publish: a transition, a dead letter or a forwarded stray."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    """`None`: the producer's partitioner picks it by key."""


class LeadWrite(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One lead's new state and the fields that people read. Written whole."""

    lead: str
    state: bytes
    """Packed by `worker.core.scoring.state`; opaque to the store. Empty: nothing is held of the lead, not even its key."""
    score: str
    """Decimal text, as are fit and engagement; empty when the lead is erased (only `state`, the mark, is kept)."""
    fit: str
    engagement: str
    stage: str
    grade: str
    updated_at: str
    """RFC 3339, the instant the fields are true for."""
    due_ms: int | None
    """Not later than the next instant at which time alone moves the lead; `None` takes it off `due`."""
    rank: float | None
    """Upper bound of the score at any later time without new events; `None` takes it off `rank`."""
    phase: str | None = None
    """The buying phase; empty: in none. `None`: the grid has no phases, and the store holds no such field."""


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where some of the points came from; a lead's reasons add up to its score."""

    kind: str
    points: float
    id: str | None = None
    raw: float | None = None
    """A rule's points before its cap."""
    count: int | None = None
    last_at: str | None = None
    row: str | None = None
    """Of a fit rule with a table: the key or the floor of the row that the lead meets, or `else`."""
    on: tuple[str, ...] | None = None
    """The types of one's own that the rule names, as the grid writes them; `None`: it names none."""
    place: int | None = None
    """Of inactivity in several tiers: the tier's place in the grid, from 1."""


class Factor(msgspec.Struct, frozen=True):
    """One signal's part of a chance."""

    id: str
    """The signal; `others` for all that is not named; `bounds` for what the limits of a chance cut off."""
    times: float
    """The odds are so many times what they are with everyone's mean of the signal."""


class Predicted(msgspec.Struct, frozen=True):
    """The chance that a lead is won within a horizon. The odds of *base* times all factors are the odds of *p*."""

    p: float | None
    horizon: str
    base: float | None
    """Everyone's chance: that of a lead with the mean of every signal."""
    factors: list[Factor]
    reason: str | msgspec.UnsetType = msgspec.UNSET
    """Why there is no chance."""
