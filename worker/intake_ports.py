"""The interfaces of a log and of a memory, for the programs that send events. `adapters` implement them.

They know nothing of the worker's group and transactions, which `worker.ports` has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from worker.core.contract.model import Headers, Output


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


class Acks(Protocol):
    """Takes records and answers once the log has them, for programs that answer to others."""

    @property
    def ready(self) -> bool:
        """Whether the log can be reached, as far as is known."""
        ...

    async def connected(self) -> None:
        """Return once the log can be reached."""
        ...

    async def put(self, records: Sequence[Output]) -> None:
        """Return once the log has every record. Raises `Undelivered`; some of the records may be there then.

        It may wait for as long as the log is away, so callers set a deadline.
        """
        ...


class Wanted(NamedTuple):
    """A look-up that waits until it is due."""

    held: bytes
    """The question, as the mapper wrote it."""
    due_ms: int


class SourceNews(NamedTuple):
    """When a source last brought a webhook, and its last error. An instant of 0 is none."""

    event_ms: int = 0
    error_ms: int = 0
    error: str = ""
    """In words, without a secret and without a person."""


class InboundMemory(Protocol):
    """What mappers of webhooks remember between them: ids that were seen, traces of messages, and look-ups that are due later.

    Collectors also write down what is new of each source, for `leadpulse connections status`.

    Each method raises `StoreUnavailable` and `StoreRefused`.
    """

    async def known(self, marks: Sequence[bytes]) -> list[bool]:
        """Return for each id's mark whether it was seen."""
        ...

    async def mark(self, marks: Collection[bytes], now_ms: int) -> None:
        """Remember ids. The oldest are forgotten after 72 hours, and past the most that are kept."""
        ...

    async def recall(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what was kept under each key."""
        ...

    async def keep(self, held: Mapping[str, bytes], kept_ms: int) -> None:
        """Keep values under their keys for *kept_ms*, in place of earlier ones."""
        ...

    async def schedule(self, wanted: Sequence[Wanted]) -> None:
        """Keep look-ups until they are done. A look-up that waits already keeps its time."""
        ...

    async def take_due(self, now_ms: int, limit: int, lease_ms: int) -> list[bytes]:
        """Return look-ups that are due. No other mapper gets them within *lease_ms*."""
        ...

    async def done(self, held: bytes) -> None:
        """Forget a look-up."""
        ...

    async def put_off(self, held: bytes, due_ms: int) -> None:
        """Let a look-up wait until *due_ms*."""
        ...

    async def questions(self) -> list[bytes]:
        """Return all look-ups that wait."""
        ...

    async def replace(self, held: bytes, instead: bytes | None) -> None:
        """Let the look-up *instead* wait in the place of *held*, if that still waits; `None`: none."""
        ...

    async def waiting(self) -> int:
        """Return the number of look-ups that wait."""
        ...

    async def tell(self, news: Mapping[str, SourceNews]) -> None:
        """Write down what is new of each source. Older news than those that are there change nothing."""
        ...
