"""The journal: what partition p of the internal topic holds, beside what the core itself writes there.

The header `lp-kind` says what a record is. A `tick` is time made into an input, `cuts` say where batches ended (so that they
can be folded again, the same), a `grid` is the text of the grid that judges from the next cut on, a `stray` is an input record
that came on a partition other than its lead's, an `alias` one that came under an alias of its lead, and a `message` is what the
owner of another id says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

import msgspec

from worker.core.contract.errors import Ends, LeadPulseError
from worker.core.contract.marks import lead_mark
from worker.core.contract.model import Headers, Message, Output, Record, Unread, VisitorHistory

KIND = "lp-kind"
_STRAY_HEADERS = 5
_ALIAS_HEADERS = 7

CUTS_BYTES: Final = 1_000_000
"""Most that a record of cuts takes, unless a single cut takes more: those of one transaction may be several records."""

MOST: Final = 2**63 - 1
_Number = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
"""What Kafka can count: an offset or an instant. Larger ones, which only another program can have written, would be read here
and then fit into nothing that we write."""


class JournalError(LeadPulseError):
    """A journal record that this version cannot read. The partition must not go on as if it were not there."""

    ends = Ends.WORKER


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """Offsets of an input topic that a batch passed over, because their records could not be read."""

    topic: str
    first: _Number
    last: _Number
    reason: str
    """As in `worker.core.contract.unread`."""


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """Where batch `batch` ended: enough to fold the very same batch again from the topics."""

    batch: _Number
    next: dict[str, _Number]
    """Input topic → the next offset after this batch."""
    grid: str
    """sha256 of the grid that judged it."""
    words: str
    """`TABLES_VERSION` of the worker that folded it: mail domains, time zones, Unicode."""
    fold: int
    """Version of the fold; a batch is folded again only by the same."""
    tick_ms: _Number | None = None
    """Set when the batch is a slice of a tick at this instant: `judged` of the leads due by then."""
    tick_done: bool = False
    """The last slice of the tick: the partition's clock moves to `tick_ms`."""
    lost: bool = False
    """Nothing was read, the offsets were moved as an operator allowed: past records that retention had deleted, or to other
    input topics."""
    requeued: _Number = 0
    """Set when the batch, empty otherwise, begins another grid (or other tables) than those before: the leads were made due
    one after the other, so many a second. The grid's text stands in the journal before this cut."""
    judged: int = 0
    """How many leads a slice of a tick judged, those due first; 0 in older journals: 1,000, or all where fewer were due."""
    ids: tuple[str, ...] = ()
    """The id of each topic of `next`, by name in order; where brokers give none, a mark (`folded.Mark`), or nothing yet.
    Empty in older journals."""
    records: _Number = 0
    """How many records were folded."""
    digest: str = ""
    """Their digest (`folded.digest`). Empty where a batch takes no records (a slice, a grid, a move), and in older journals,
    whose batches are folded of whatever is there now."""
    fetched_ms: _Number | None = None
    """When the records were fetched; set only where that holds an event's `time` (`worker.core.contract.codec.instant`)."""
    order: _Number = 0
    """Beside `requeued`: the number of what begins in the namespace's order of grids and tables; 0 in older journals."""
    passed: tuple[Passed, ...] = ()
    """What the batch passed over, by place: a refold passes over the same, whatever its own settings are."""

    def topic_ids(self) -> dict[str, str]:
        """Return topic → id or mark; empty for a cut of an older version."""
        return dict(zip(sorted(self.next), self.ids, strict=True)) if len(self.ids) == len(self.next) else {}


class Tick(msgspec.Struct, frozen=True, array_like=True):
    """Time as an input record."""

    time_ms: _Number
    """The instant up to which the writer had read everything; never taken later than the record's own append time."""
    next: dict[str, _Number]
    """Topic → next offset when it was written: the tick is held until these are applied, so it overtakes no event."""


class Cuts(msgspec.Struct, frozen=True):
    """Cuts of one transaction, in order of batch. Where they are many, further records hold the rest."""

    cuts: tuple[Cut, ...]


class GridText(msgspec.Struct, frozen=True):
    """The text of a grid: a partition that must be folded again judges each batch by the grid that judged it first."""

    source: bytes
    """The file's bytes; cuts name them by their SHA-256."""


class Stray(msgspec.Struct, frozen=True):
    """An input record forwarded to the partition that owns its lead."""

    record: Record
    """As it first came: topic, partition, offset and timestamp are the producer's."""
    lead: str = ""
    """The lead whose event it is, where that is not its subject but one that the subject is an alias of."""
    visited: tuple[int, ...] = ()
    """Marks of the aliases on the way there."""


class OwnerMessage(msgspec.Struct, frozen=True):
    """What the owner of another id says."""

    message: Message


Entry = Tick | Cuts | GridText | Stray | OwnerMessage

_NOT_FOLDED: Final = ((KIND, b"tick"), (KIND, b"cuts"), (KIND, b"grid"))

_encode = msgspec.json.encode
_tick = msgspec.json.Decoder(Tick)
_message = msgspec.msgpack.Decoder(Message)
_visited = msgspec.json.Decoder(tuple[int | str, ...])
_cuts = msgspec.json.Decoder(tuple[Cut, ...])


def tick_output(topic: str, partition: int, tick: Tick) -> Output:
    """Return *tick* as a record of *partition* of the internal *topic*."""
    return Output(topic, None, _encode(tick), ((KIND, b"tick"),), partition)


def cuts_output(topic: str, partition: int, cuts: Sequence[Cut]) -> Output:
    """Return *cuts* as one record of *partition* of the internal *topic*."""
    return _cuts_record(topic, partition, [_encode(cut) for cut in cuts])


def cuts_outputs(topic: str, partition: int, cuts: Sequence[Cut], most: int = CUTS_BYTES) -> list[Output]:
    """Return *cuts* as records of *partition* of the internal *topic*, each of *most* bytes or of a single cut."""
    outputs: list[Output] = []
    open_: list[bytes] = []
    size = 2
    for cut in cuts:
        encoded = _encode(cut)
        if open_ and size + len(encoded) > most:
            outputs.append(_cuts_record(topic, partition, open_))
            open_, size = [], 2
        open_.append(encoded)
        size += len(encoded) + 1
    if open_:
        outputs.append(_cuts_record(topic, partition, open_))
    return outputs


def _cuts_record(topic: str, partition: int, encoded: Sequence[bytes]) -> Output:
    return Output(topic, None, b"[" + b",".join(encoded) + b"]", ((KIND, b"cuts"),), partition)


def grid_output(topic: str, partition: int, source: bytes) -> Output:
    """Return a grid's text as a record of *partition* of the internal *topic*."""
    return Output(topic, None, source, ((KIND, b"grid"),), partition)


def message_output(topic: str, owner: int, message: Message, context: Headers = ()) -> Output:
    """Return *message* to partition *owner* of the internal *topic*, with the trace *context* of what brought it about."""
    return Output(topic, None, msgspec.msgpack.encode(message), ((KIND, b"message"), *context), owner)


def stray_output(topic: str, owner: int, record: Record, lead: str = "", visited: Sequence[int] = ()) -> Output:
    """Return *record* forwarded to partition *owner* of the internal *topic*: its key, value and headers as they came.

    *lead*: whose event it is, where its subject is an alias; *visited*: the marks of the aliases on the way.
    """
    stamp = b"" if record.timestamp_ms is None else b"%d" % record.timestamp_ms
    ours: Headers = (
        (KIND, b"alias" if lead else b"stray"),
        ("lp-topic", record.topic.encode()),
        ("lp-partition", b"%d" % record.partition),
        ("lp-offset", b"%d" % record.offset),
        ("lp-timestamp", stamp),
    )
    if lead:
        ours += (("lp-lead", lead.encode()), ("lp-visited", _encode(visited)))
    return Output(topic, record.key, record.value, ours + record.headers, owner)


def is_folded(record: Record) -> bool:
    """Return whether *record* of the internal topic is taken into states, or is of a kind that is not known here.

    Ticks, cuts and grids are no part of a batch of events, though they may stand between its records.
    """
    return not record.headers or record.headers[0] not in _NOT_FOLDED


def decode_entry(record: Record) -> Entry:
    """Return what *record* of the internal topic is.

    Raises `JournalError` for a kind of a newer version, or a broken record: what it would have done is not known, so the
    partition stops there.
    """
    where = f"{record.topic}[{record.partition}] offset {record.offset}"
    if type(record) is Unread:
        raise JournalError(
            f"journal record {where}: it cannot be read ({record.detail or record.reason}), and no setting passes over it:"
            " look at the brokers' disks; bring back a replica that is whole, or start afresh under another LEADPULSE_NAMESPACE"
        )
    kind = record.headers[0][1] if record.headers and record.headers[0][0] == KIND else None
    read = None if kind is None else _READERS.get(kind)
    if kind is None or read is None:
        name = "no lp-kind header" if kind is None else f"kind {kind.decode(errors='replace')!r}"
        raise JournalError(
            f"journal record {where}: {name} is not known to this version; it was written by a newer LeadPulse or by another"
            " program: run the version that wrote it, and let nothing else write to this topic"
        )
    try:
        return read(record)
    except (msgspec.MsgspecError, ValueError, LookupError) as err:
        raise JournalError(
            f"journal record {where}: not a readable {kind.decode()} ({err}): only LeadPulse may write to"
            " this topic. Find the program that did, revoke its right, then start afresh under another LEADPULSE_NAMESPACE"
        ) from err


def _read_alias(record: Record) -> Stray:
    lead, visited = (value for _, value in record.headers[_STRAY_HEADERS:_ALIAS_HEADERS])
    return Stray(_original(record, _ALIAS_HEADERS), lead.decode(), _marks(_visited.decode(visited)))


def _read_message(record: Record) -> OwnerMessage:
    message = _message.decode(record.value or b"")
    if isinstance(message, VisitorHistory) and message.visited:
        message = msgspec.structs.replace(message, visited=_marks(message.visited))
    return OwnerMessage(message)


_READERS: Final[Mapping[bytes, Callable[[Record], Entry]]] = {
    b"tick": lambda record: _tick.decode(record.value or b""),
    b"cuts": lambda record: Cuts(_cuts.decode(record.value or b"")),
    b"grid": lambda record: GridText(record.value or b""),
    b"stray": lambda record: Stray(_original(record, _STRAY_HEADERS)),
    b"alias": _read_alias,
    b"message": _read_message,
}
"""By the header `lp-kind`."""


def _marks(visited: Sequence[int | str]) -> tuple[int, ...]:
    """Return *visited* as marks: journals of older versions hold ids in their place."""
    return tuple(lead_mark(one) if isinstance(one, str) else one for one in visited)


def _original(record: Record, ours_count: int) -> Record:
    """Return the input record inside a stray, without the first *ours_count* of its headers, which are ours."""
    ours = dict(record.headers[:_STRAY_HEADERS])
    stamp = ours["lp-timestamp"]
    return Record(
        ours["lp-topic"].decode(),
        _number(ours["lp-partition"]),
        _number(ours["lp-offset"]),
        _number(stamp) if stamp else None,
        record.key,
        record.value,
        record.headers[ours_count:],
    )


def _number(text: bytes) -> int:
    number = int(text)
    if not 0 <= number <= MOST:
        raise ValueError(f"{text[:40]!r} is no offset, partition or instant of Kafka's")
    return number
