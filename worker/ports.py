"""What programs ask of a store and of a log; `adapters` answer, in memory or in Redis and Kafka.

One store object serves one partition of one namespace. Every method raises `StoreUnavailable` when the store could not be
reached or the reply was lost: the caller cannot know whether the call took effect, and repeats it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Final, NamedTuple, Protocol

import msgspec

from worker.core.contract.journal import Cut as Cut
from worker.core.contract.model import Headers, LeadWrite, Output, Record


class Applied(enum.Enum):
    """What `Store.apply` did."""

    DONE = "DONE"
    ALREADY = "ALREADY"
    """The stored batch number is ours: the reply was lost, the batch is in."""
    GAP = "GAP"
    """The store is not where we left it (it went back in time): drop what is in memory, load the partition again."""


class OutboxEntry(msgspec.Struct, frozen=True, array_like=True):
    """What one batch sends out, with its cut. Empty `outputs`: only the cut travels."""

    cut: Cut
    outputs: tuple[Output, ...]


class Batch(msgspec.Struct, frozen=True):
    """One step of a partition, applied whole or not at all."""

    entry: OutboxEntry
    writes: Sequence[LeadWrite]
    clock_ms: int | None
    """The partition's clock (its last finished tick) after this batch."""
    send: bool = True
    """False while batches up to W are folded again: their outputs are published already, so no outbox entry is kept."""
    strayed_ms: int | None = None
    """When (log time) this partition last forwarded a stray; `None` leaves what is stored."""
    grid: bytes | None = None
    """Set where the batch begins another grid: its text, kept as `Store.grid`. Every lead then becomes due once, by falling
    rank, one after the other from `clock_ms` on, `entry.cut.requeued` a second (one that is due earlier stays so): the next
    ticks judge them all at that rate. This batch and each one after it make the next `LISTED` leads due, until all are. Part
    of the batches, so that a store which loses its last second loses all of it or nothing."""
    left: Sequence[str] = ()
    """Topics that are no longer inputs from this batch on: their offsets are forgotten."""


LISTED: Final = 250
"""How many leads one batch makes due at most after the grid changed: no call may hold the store up for long."""


class Due(NamedTuple):
    """What `Store.due` answers."""

    leads: list[str]
    unlisted: bool = False
    """A change of the grid has yet to make some leads due by then: more batches do it, empty ones too."""


class Position(msgspec.Struct, frozen=True):
    """Where the store is: the hash `{ns:p}:position`."""

    owner: str
    batch: int
    """Number of the last applied batch; 0 before the first."""
    next: dict[str, int]
    published: int
    """The store's copy of W: every batch up to it is known to be published."""
    partitions: int
    """N when the state was made; 0 when the partition is empty."""
    grid: str
    """sha256 of the grid that judged the last batch; empty before the first."""
    words: str
    """`TABLES_VERSION` then."""
    clock_ms: int | None
    strayed_ms: int | None = None
    horizon_ms: int | None = None
    """All records of the partition up to this log time have been read, and what they forwarded is published."""
    regraded_ms: int | None = None
    """The clock at which the last change of the grid will have reached every lead; before it, ranks may be the old grid's."""
    requeued: int | None = None
    """How many leads the change of the grid under way has made due so far; `None`: none is under way."""
    rebuild: bool = False
    """An operator allowed an empty store to be filled again from the topics."""
    leads: dict[str, int] = {}
    """Stage → how many leads are in it, exactly; a stage without any may be missing. Empty while they are not `counted`."""
    counted: bool = True
    """False where an older version, which counted no leads, wrote the last batch; `acquire` counts them."""
    inputs: tuple[str, ...] = ()
    """The input topics that an operator said are to be read from the next take-over on, sorted; empty: those of `next`."""
    ids: dict[str, str] = {}
    """Topic → id or mark, as in the last batch's cut; empty where an older version wrote it."""
    order: int = 0
    """`Cut.order` of the last batch that began another grid or other tables; 0 where an older version wrote it."""
    begun: str = ""
    """`TABLES_VERSION` of that batch: by these every lead was judged. Empty where `order` is 0."""


class Store(Protocol):
    """One partition's state, position, schedule and outbox."""

    async def acquire(self, token: str, partitions: int) -> Position:
        """Become the owner and return where the partition stands.

        *token* is `producer-id:epoch:uuid`. A lower epoch of the stored producer id raises `Fenced`; from now on, so does any
        other token in every other method. Writes *partitions* into an empty position; does not compare it (the caller does).
        """
        ...

    async def load(self, leads: Sequence[str], token: str = "", batch: int = 0, most: float = inf) -> list[bytes | None]:
        """Return each lead's packed state, in the order asked; `None` for a lead that is not held.

        Ends with the state that brings the bytes to *most*: the answer may be shorter than *leads*, never empty for some.

        With the owner's *token*: as *batch* left them, else raises `StaleStore`, so that what `apply` writes upon is what was
        loaded, even where the store went back in time and forth again between the two.
        """
        ...

    async def apply(self, token: str, batch: Batch) -> Applied:
        """Write *batch* whole or not at all. Raises `Fenced` when *token* is not the owner's.

        Raises `StoreFull` where there is no memory for it: a store that is full takes only batches whose leads hold no more
        than before.
        """
        ...

    async def due(self, by_ms: int, limit: int, token: str = "", batch: int = 0) -> Due:
        """Return at most *limit* leads due by *by_ms*, earliest first, then by id.

        With the owner's *token*: as *batch* left them, else raises `StaleStore`, as `load` does.
        """
        ...

    async def outbox(self, after: int) -> list[OutboxEntry]:
        """Return the outbox entries of batches past *after*, in order."""
        ...

    async def trim(self, token: str, published: int, horizon_ms: int | None = None) -> None:
        """Drop outbox entries up to batch *published* and keep it as the store's copy of W, with the partition's horizon.

        A full store does it too: it frees memory.
        """
        ...

    async def position(self) -> Position:
        """Return where the partition stands, without owning it."""
        ...

    async def grid(self) -> bytes | None:
        """Return the text of the grid that `Position.grid` names; `None` before the first batch."""
        ...

    async def top(self, count: int, offset: int = 0) -> list[tuple[str, float]]:
        """Return leads by falling `rank` (an upper bound of the score), for an exact top-N after a re-check."""
        ...

    async def lead(self, lead: str) -> dict[str, bytes]:
        """Return the lead's fields, its state in one piece; empty for a lead that is not held."""
        ...


class OrderStore(Protocol):
    """What a namespace holds once: the order of its grids (`worker.core.grid.order`), and the text of the one in force."""

    async def order(self) -> bytes | None:
        """Return the order; `None` before the first."""
        ...

    async def text(self) -> bytes | None:
        """Return the text of the grid in force; another may have followed since `order`."""
        ...

    async def swap(self, expected: bytes | None, order: bytes, text: bytes | None) -> bool:
        """Put *order* in the place of *expected*, with the *text* of its last grid (`None`: it stays).

        Return whether that was done: not where something else than *expected* is held by now.
        """
        ...


class LogPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Committed(NamedTuple):
    """An offset that a group committed."""

    offset: int
    metadata: str


class Fetched(NamedTuple):
    """What a fetch gave of one partition."""

    records: list[Record]
    next: int
    """The position after them; it may have moved with no record (transaction markers, aborted records)."""


class LogReader(Protocol):
    """Reads the committed records of partitions, from positions that the caller seeks.

    Every method that asks the brokers raises `LogUnavailable` where they do not answer.
    """

    def assign(self, partitions: Iterable[LogPartition]) -> None:
        """Read *partitions* from now on."""
        ...

    def assignment(self) -> AbstractSet[LogPartition]:
        """Return the partitions at hand: another object after each rebalance, which forgets all positions."""
        ...

    def seek(self, partition: LogPartition, offset: int) -> None:
        """Read *partition* from *offset* on."""
        ...

    async def position(self, partition: LogPartition) -> int:
        """Return the offset from which the next fetch reads."""
        ...

    async def fetch(
        self, partitions: Sequence[LogPartition], wait_s: float, most: int | None = None
    ) -> dict[LogPartition, Fetched]:
        """Return at most *most* records of *partitions*, waiting up to *wait_s* for the first.

        All *partitions* are in the answer. Raises `Reassigned` where a rebalance came between, `OffsetsGone` and `NoRight`.
        """
        ...

    def end(self, partition: LogPartition) -> int | None:
        """Return the high watermark at the last fetch; `None` before the first."""
        ...

    def polled_ms(self, partition: LogPartition) -> int | None:
        """Return when the last fetch was answered, by this machine's clock; `None` before the first."""
        ...

    async def starts(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return where the log of each of *partitions* begins."""
        ...

    async def ends(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return the last stable offset of each of *partitions*: before it nothing is undecided."""
        ...


class LogGroup(LogReader, Protocol):
    """A member of the workers' group, which reads the partitions that the group gives it."""

    async def join(self, topics: Sequence[str], assigned: Callable[[set[LogPartition]], None]) -> None:
        """Join; *assigned* is called with all of our partitions after each rebalance, and must not raise."""
        ...

    async def poll(self) -> None:
        """Ask for no record, for a second at most. It shows the group that we live, and raises what went wrong in it."""
        ...


class LogProducer(Protocol):
    """The transactional producer of one partition, for one incarnation. After any error only `close` may be called."""

    async def start(self) -> None:
        """Fence the producer before it, and abort the transaction that it left open.

        Raises `ProducerFailed`, or `KafkaRefused` without the right to it.
        """
        ...

    def new_token(self) -> str:
        """Return a new `producer-id:epoch:uuid`, by which the store knows the owner. A later start has a higher epoch."""
        ...

    async def send(self, outputs: Sequence[Output], next_: Mapping[str, int], batch: int, step: Callable[[str], None]) -> None:
        """Commit *outputs* and the offsets *next_*, with *batch* as their metadata, in one transaction: all or nothing.

        *step* is called with the name of each step reached. Raises `KafkaRefused` when Kafka never takes a record,
        `ProducerFailed` otherwise.
        """
        ...

    async def close(self) -> None:
        """Let go of everything, whatever state the producer is in. An open transaction is never committed."""
        ...


class LogAdmin(Protocol):
    """Questions about topics and committed offsets. Each raises `LogUnavailable`, and `KafkaRefused` without the right."""

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the number of partitions of each of *topics*; 0 for a topic that does not exist."""
        ...

    async def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each of *topics* that exists; `UNKNOWN` where brokers give none."""
        ...

    async def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return each topic's configuration in force."""
        ...

    async def committed(self, partition: int) -> dict[str, Committed]:
        """Return the group's committed offset for *partition* of each topic that has one."""
        ...


class Log(LogAdmin, Protocol):
    """Topics of records in partitions, with transactions and committed offsets."""

    def reader(self, partitions: Sequence[LogPartition], wait_ms: int = 200) -> AbstractAsyncContextManager[LogReader]:
        """Open a reader of *partitions* outside of any group. *wait_ms*: how long a fetch waits at a broker for a record."""
        ...

    def producer(self, partition: int) -> LogProducer:
        """Return a producer for the next incarnation of *partition*, not started."""
        ...

    async def starts(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return where the log of each of *partitions* begins."""
        ...

    async def ends(self, partitions: Sequence[LogPartition]) -> dict[LogPartition, int]:
        """Return the last stable offset of each of *partitions*."""
        ...


class Sink(Protocol):
    """Takes records without a transaction, as a log takes them from the systems that send events."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = (), timestamp_ms: int | None = None
    ) -> None:
        """Hand one record over. Waits while too many records are on their way.

        *timestamp_ms* is the record's own, now when absent. Raises `Undelivered` once any earlier record was refused.
        """
        ...

    async def flush(self) -> None:
        """Wait until the log has every record handed over so far. Raises `Undelivered`."""
        ...


class LogIntake(Protocol):
    """What the programs that send events ask of a log. It knows nothing of the worker's group and transactions."""

    @property
    def name(self) -> str:
        """How messages name the log."""
        ...

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the number of partitions of each of *topics*; 0 for a topic that does not exist."""
        ...

    def sink(self) -> AbstractAsyncContextManager[Sink]:
        """Open a sink. Leaving it without an exception waits until every record is in the log. Raises `Undelivered`."""
        ...


class Tracer(Protocol):
    """Tells a tracing system what happened. Called once a batch, so it must not wait for anybody; nothing depends on it."""

    def applied(self, partition: int, entry: OutboxEntry, records: int, began_s: float, steps: Mapping[str, float]) -> None:
        """A batch of *records*, at hand since *began_s* (`time.perf_counter`), is in the store; *steps*: seconds of each."""

    def sent(self, partition: int, entry: OutboxEntry, since_s: float) -> None:
        """What a batch sends out is committed; it has been in the store since *since_s* (`time.monotonic`), as far as known."""
