"""The journal: the records of partition p of the internal topic.

The header `lp-kind` names the kind of a record:

- `tick`: an instant, as an input record.
- `cuts`: where batches ended, so that the same batches can be folded again.
- `grid`: the text of the grid that judges leads from the next cut on.
- `stray`: an input record that came on another partition than its lead's.
- `alias`: an input record that came under an alias of its lead.
- `message`: a message from the owner of another id.
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
"""Most bytes of a record of cuts, unless a single cut takes more. The cuts of one transaction may be several records."""

MOST: Final = 2**63 - 1
_Number = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
"""An offset or an instant as Kafka counts them. No record holds a larger one, and only other programs write one."""


class JournalError(LeadPulseError):
    """This version cannot read a journal record. The partition must not go on without it."""

    ends = Ends.WORKER


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """Offsets of an input topic that a batch passed over, because their records could not be read."""

    topic: str
    first: _Number
    last: _Number
    reason: str
    """As in `worker.core.contract.unread`."""


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """Where batch `batch` ended. With it the same batch can be folded again from the topics."""

    batch: _Number
    next: dict[str, _Number]
    """Input topic → the next offset after this batch."""
    grid: str
    """SHA-256 of the grid that judged the batch."""
    words: str
    """`TABLES_VERSION` of the worker that folded the batch: mail domains, time zones, Unicode."""
    fold: int
    """Version of the fold. Only the same version folds a batch again."""
    tick_ms: _Number | None = None
    """Set where the batch is a slice of a tick at this instant. It judged `judged` of the leads due by then."""
    tick_done: bool = False
    """Whether it is the last slice of the tick. Then the partition's clock moves to `tick_ms`."""
    lost: bool = False
    """The batch read nothing. An operator allowed it to move the offsets: past records that retention had deleted, or to other
    input topics."""
    requeued: _Number = 0
    """Set where the batch begins another grid or other tables, and has nothing else. The leads were made due one after the
    other, so many a second. The journal has the grid's text before this cut."""
    judged: int = 0
    """How many leads a slice of a tick judged, in the order of their due instants. 0 in older journals: 1,000 at most."""
    ids: tuple[str, ...] = ()
    """The id of each topic of `next`, in the order of names. Where brokers give none, it is a mark (`folded.Mark`), or empty.
    Older journals have no ids."""
    records: _Number = 0
    """How many records were folded."""
    digest: str = ""
    """Their digest (`folded.digest`). Empty for a batch without records (a slice, a grid, a move), and in older journals.
    Batches of older journals are folded again from the records that the topics have now."""
    fetched_ms: _Number | None = None
    """When the records were fetched. Set only where that bounds an event's `time` (`worker.core.contract.instants.instant`)."""
    order: _Number = 0
    """With `requeued`: the place of the new grid or tables in the namespace's order of both. 0 in older journals."""
    passed: tuple[Passed, ...] = ()
    """Records that the batch passed over, by place. A refold passes over the same, whatever its own settings are."""

    def topic_ids(self) -> dict[str, str]:
        """Return topic → id or mark; empty for a cut of an older version."""
        return dict(zip(sorted(self.next), self.ids, strict=True)) if len(self.ids) == len(self.next) else {}


class Tick(msgspec.Struct, frozen=True, array_like=True):
    """Time as an input record."""

    time_ms: _Number
    """The instant up to which the writer had read everything. Readers bound it by the record's append time."""
    next: dict[str, _Number]
    """Topic → next offset when the tick was written. The tick waits until these are applied, so it overtakes no event."""


class Cuts(msgspec.Struct, frozen=True):
    """Cuts of one transaction, in order of batch. Many cuts take several records."""

    cuts: tuple[Cut, ...]


class GridText(msgspec.Struct, frozen=True):
    """The text of a grid. A partition that is folded again judges each batch by the grid that judged it first."""

    source: bytes
    """The file's bytes. Cuts name them by their SHA-256."""


class Stray(msgspec.Struct, frozen=True):
    """An input record forwarded to the partition that owns its lead."""

    record: Record
    """As the producer sent it: with the first topic, partition, offset and timestamp."""
    lead: str = ""
    """The lead of the event, where its subject is an alias of that lead."""
    visited: tuple[int, ...] = ()
    """Marks of the aliases on the way there."""


class OwnerMessage(msgspec.Struct, frozen=True):
    """A message from the owner of another id."""

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
    """Return *message* to partition *owner* of the internal *topic*, with the trace *context* of its cause."""
    return Output(topic, None, msgspec.msgpack.encode(message), ((KIND, b"message"), *context), owner)


def stray_output(topic: str, owner: int, record: Record, lead: str = "", visited: Sequence[int] = ()) -> Output:
    """Return *record* forwarded to partition *owner* of the internal *topic*, with its key, value and headers.

    *lead*: the lead of the event, where its subject is an alias. *visited*: the marks of the aliases on the way.
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
    """Return whether a batch of events folds *record* of the internal topic, or whether its kind is unknown.

    Ticks, cuts and grids are no part of such a batch, though they may stand between its records.
    """
    return not record.headers or record.headers[0] not in _NOT_FOLDED


def decode_entry(record: Record) -> Entry:
    """Return the entry in *record* of the internal topic.

    Raises `JournalError` for a kind of a newer version and for a broken record. Its effect is unknown, so the partition stops.
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
    """Return *visited* as marks. Journals of older versions have ids instead."""
    return tuple(lead_mark(one) if isinstance(one, str) else one for one in visited)


def _original(record: Record, ours_count: int) -> Record:
    """Return the input record inside a stray, without the first *ours_count* headers, which the worker added."""
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
