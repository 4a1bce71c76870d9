"""Batches to try stores with, and a look at everything a store shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.core.contract.model import LeadWrite, Output
from worker.ports import Batch, Cut, OutboxEntry, Store

FAR_MS = 2**53


def a_write(
    lead: str,
    state: bytes = b"state",
    *,
    due_ms: int | None = None,
    rank: float | None = None,
    score: str = "1",
    stage: str = "contact",
) -> LeadWrite:
    """Return a lead's write; with *score* empty, that of an erased lead."""
    if not score:
        return LeadWrite(lead, state, "", "", "", "", "", "", due_ms, rank)
    return LeadWrite(lead, state, score, "1", "0", stage, "C3", "2026-01-01T00:00:00Z", due_ms, rank)


def a_batch(
    number: int,
    writes: Sequence[LeadWrite] = (),
    *,
    next: Mapping[str, int] | None = None,
    clock_ms: int | None = None,
    strayed_ms: int | None = None,
    send: bool = True,
    outputs: tuple[Output, ...] = (),
    grid: str = "g",
    begins: bytes | None = None,
    rate: int = 0,
) -> Batch:
    """Return batch *number*; by default it has read one more record of `web` and moves no lead."""
    cut = Cut(number, {"web": number} if next is None else dict(next), grid, "w", 1, requeued=rate)
    return Batch(OutboxEntry(cut, outputs), writes, clock_ms, send, strayed_ms, begins)


async def everything(store: Store, leads: Sequence[str]) -> object:
    """Return all that the port shows of a partition and of *leads*, for comparisons before and after."""
    return (
        await store.position(),
        await store.grid(),
        await store.due(FAR_MS, 10_000),
        await store.top(10_000),
        await store.outbox(0),
        [await store.lead(lead) for lead in leads],
        await store.load(leads),
    )
