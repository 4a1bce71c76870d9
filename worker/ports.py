"""The interfaces of a store and of a log. `adapters` implement them, in memory and with Redis and Kafka.

`worker.intake_ports` has those of the programs that send events.

One store object serves one partition of one namespace. Every method raises `StoreUnavailable` if the store could not be reached
or the reply was lost. The caller cannot know whether the call took effect, and repeats it.
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
from worker.core.contract.model import LeadWrite, Output, Record


class Applied(enum.Enum):
    """The result of `Store.apply`."""

    DONE = "DONE"
    ALREADY = "ALREADY"
    """The batch was applied before, and its reply was lost."""
    GAP = "GAP"
    """The batch does not follow the stored one, because the store went back in time. Take the partition over again."""


class OutboxEntry(msgspec.Struct, frozen=True, array_like=True):
    """The outputs of one batch, perhaps none, with its cut."""

    cut: Cut
    outputs: tuple[Output, ...]


class Batch(msgspec.Struct, frozen=True):
    """One step of a partition. It is applied whole or not at all."""

    entry: OutboxEntry
    writes: Sequence[LeadWrite]
    clock_ms: int | None
    """The partition's clock (its last finished tick) after this batch."""
    send: bool = True
    """False while batches up to W are folded again. Their outputs are published already, so no outbox entry is kept."""
    strayed_ms: int | None = None
    """Log time at which this partition last forwarded a stray; `None` leaves the stored value."""
    grid: bytes | None = None
    """The text of a grid that the batch begins, kept as `Store.grid`; else `None`.

    Every lead then becomes due once, by falling rank, from `clock_ms` on, at `entry.cut.requeued` a second. A lead that is due
    earlier stays so. The next ticks judge them all at that rate. This batch and each later one make the next `LISTED` leads
    due. Since batches do it, a store that loses its last second stays consistent."""
    left: Sequence[str] = ()
    """Topics that are no inputs from this batch on. Their offsets are removed."""


LISTED: Final = 250
"""Most leads that one batch makes due after the grid changed. No call may block the store for long."""


class Due(NamedTuple):
    """The result of `Store.due`."""

    leads: list[str]
    unlisted: bool = False
    """A new grid will make more leads due by then. The next batches do it, even empty ones."""


class Position(msgspec.Struct, frozen=True):
    """A partition's position in the store: the hash `{ns:p}:position`."""

    owner: str
    batch: int
    """Number of the last applied batch; 0 before the first."""
    next: dict[str, int]
    published: int
    """The store's copy of W. Every batch up to it is published."""
    partitions: int
    """N of the state; 0 for an empty partition."""
    grid: str
    """sha256 of the grid that judged the last batch; empty before the first."""
    words: str
    """`TABLES_VERSION` of the last batch."""
    clock_ms: int | None
    strayed_ms: int | None = None
    horizon_ms: int | None = None
    """All records of the partition up to this log time are read, and the strays among them are published."""
    regraded_ms: int | None = None
    """The clock at which the last new grid has reached every lead. Before it, ranks may be of the old grid."""
    requeued: int | None = None
    """Leads that a new grid has made due so far; `None` once all are."""
    rebuild: bool = False
    """An operator allowed the next owner to fill an empty store from the topics."""
    leads: dict[str, int] = {}
    """Stage → exact number of leads. A stage without leads may be missing. Empty while the leads are not `counted`."""
    counted: bool = True
    """False if an older version, which counted no leads, wrote the last batch. `acquire` counts them."""
    inputs: tuple[str, ...] = ()
    """The input topics that an operator allowed from the next take-over on, sorted; empty for those of `next`."""
    ids: dict[str, str] = {}
    """Topic → id or mark, as in the last batch's cut; empty if an older version wrote it."""
    order: int = 0
    """`Cut.order` of the last batch that began another grid or other tables; 0 if an older version wrote it."""
    begun: str = ""
    """`TABLES_VERSION` of that batch, which judged every lead. Empty if `order` is 0."""


class Store(Protocol):
    """One partition's state, position, schedule and outbox."""

    async def acquire(self, token: str, partitions: int) -> Position:
        """Become the owner and return the position.

        *token* is `producer-id:epoch:uuid`. Raises `Fenced` for a lower epoch of the stored producer id. From now on every
        other method raises `Fenced` for any other token. An empty position gets *partitions*. The caller compares it with a
        stored one.
        """
        ...

    async def load(self, leads: Sequence[str], token: str = "", batch: int = 0, most: float = inf) -> list[bytes | None]:
        """Return each lead's packed state, in the given order; `None` for a lead that is not stored.

        The answer ends with the state that brings the bytes to *most*. It may be shorter than *leads*, but it is never empty.

        With the owner's *token* the states are those after *batch*. Raises `StaleStore` if the store is at another batch. So
        `apply` always follows the loaded states, even if the store was restored twice in between.
        """
        ...

    async def apply(self, token: str, batch: Batch) -> Applied:
        """Write *batch* whole or not at all. Raises `Fenced` when *token* is not the owner's.

        Raises `StoreFull` without memory for it. A full store accepts only batches that make no lead larger.
        """
        ...

    async def due(self, by_ms: int, limit: int, token: str = "", batch: int = 0) -> Due:
        """Return at most *limit* leads due by *by_ms*, earliest first, then by id.

        With the owner's *token* the answer is that after *batch*. Raises `StaleStore` at another batch, as `load` does.
        """
        ...

    async def outbox(self, after: int) -> list[OutboxEntry]:
        """Return the outbox entries of batches past *after*, in order."""
        ...

    async def trim(self, token: str, published: int, horizon_ms: int | None = None) -> None:
        """Drop outbox entries up to batch *published*, and store it as the copy of W, with the partition's horizon.

        A full store accepts it, because it frees memory.
        """
        ...

    async def position(self) -> Position:
        """Return the position, without owning the partition."""
        ...

    async def grid(self) -> bytes | None:
        """Return the text of the grid that `Position.grid` names; `None` before the first batch."""
        ...

    async def top(self, count: int, offset: int = 0) -> list[tuple[str, float]]:
        """Return leads by falling `rank` (an upper bound of the score), for an exact top-N after a re-check."""
        ...

    async def lead(self, lead: str) -> dict[str, bytes]:
        """Return the lead's fields, its state in one piece; empty for a lead that is not stored."""
        ...


class OrderStore(Protocol):
    """A namespace's order of grids (`worker.core.grid.order`), and the text of the grid in force."""

    async def order(self) -> bytes | None:
        """Return the order; `None` before the first."""
        ...

    async def text(self) -> bytes | None:
        """Return the text of the grid in force. Another grid may have followed since `order`."""
        ...

    async def swap(self, expected: bytes | None, order: bytes, text: bytes | None) -> bool:
        """Replace *expected* by *order*, with the *text* of its last grid (`None`: the text stays).

        Return False, and change nothing, if the store does not hold *expected*.
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
    """The result of a fetch for one partition."""

    records: list[Record]
    next: int
    """The position after them. It may move without a record (transaction markers, aborted records)."""


class LogReader(Protocol):
    """Reads the committed records of partitions, from positions that the caller seeks.

    Every method that asks the brokers raises `LogUnavailable` if they do not answer.
    """

    def assign(self, partitions: Iterable[LogPartition]) -> None:
        """Read *partitions* from now on."""
        ...

    def assignment(self) -> AbstractSet[LogPartition]:
        """Return the assigned partitions. Each rebalance gives another object, and resets all positions."""
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

        All *partitions* are in the answer. Raises `Reassigned` after a rebalance, `OffsetsGone` and `NoRight`.
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
        """Return the last stable offset of each of *partitions*. All transactions before it are decided."""
        ...


class LogGroup(LogReader, Protocol):
    """A member of the workers' group. It reads the partitions that the group assigns to it."""

    async def join(self, topics: Sequence[str], assigned: Callable[[set[LogPartition]], None]) -> None:
        """Join; *assigned* is called with all of our partitions after each rebalance, and must not raise."""
        ...

    async def poll(self) -> None:
        """Poll for no record, for a second at most. The group sees that we are alive. Raises errors of the group."""
        ...


class LogProducer(Protocol):
    """The transactional producer of one partition, for one incarnation. After any error only `close` may be called."""

    async def start(self) -> None:
        """Fence the previous producer, and abort the transaction that it left open.

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
        """Close the producer in any state. An open transaction is never committed."""
        ...


class LogAdmin(Protocol):
    """Questions about topics and committed offsets. Each raises `LogUnavailable`, and `KafkaRefused` without the right."""

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the number of partitions of each of *topics*; 0 for a topic that does not exist."""
        ...

    async def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each of *topics* that exists; `UNKNOWN` if the brokers have no ids."""
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


class Tracer(Protocol):
    """Reports batches to a tracing system. It is called for each batch, so it must not block. Nothing depends on it."""

    def applied(self, partition: int, entry: OutboxEntry, records: int, began_s: float, steps: Mapping[str, float]) -> None:
        """A batch of *records*, begun at *began_s* (`time.perf_counter`), is stored. *steps* has the seconds of each step."""

    def sent(self, partition: int, entry: OutboxEntry, since_s: float) -> None:
        """The outputs of a batch are committed. The batch was stored at *since_s* (`time.monotonic`), as far as is known."""
