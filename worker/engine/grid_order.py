"""The namespace's order of grids and tables, as one worker takes part in it."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, NamedTuple

from worker.core.grid.models import Grid
from worker.core.grid.order import Entry, Order, followed, forced, joined, packed, refusal, unpacked
from worker.core.grid.tables import TABLES_VERSION
from worker.errors import StoreRefused, StoreUnavailable
from worker.ports import OrderStore

_ATTEMPTS: Final = 20


class Agreed(NamedTuple):
    """What the namespace judges by, and what became of the worker's own grid."""

    entry: Entry
    text: bytes | None
    """Of the grid in force, where it is not the worker's own."""
    refusal: str | None
    """Why the worker's own grid is not in force; `None` where it is."""
    superseded: bool
    """The worker's tables were in force before, and others are now."""


async def known(store: OrderStore) -> tuple[bytes | None, Order]:
    """Return the namespace's order, as the store holds it and opened. Raises `StoreRefused` where it cannot be read."""
    held = await store.order()
    try:
        return held, unpacked(held)
    except ValueError as err:
        raise StoreRefused(
            f"the order of grids cannot be read ({err}): run the version of the worker that wrote it, or delete its key"
        ) from err


async def agree(store: OrderStore, grid: Grid, past: Iterable[Entry] | None = None, text: bytes | None = None) -> Agreed | None:
    """Take *grid* and this worker's tables into the order where they may follow; return what is in force.

    *past*: what a partition has been through, with the *text* of its last grid, for an order that the store forgot. Without it
    nothing is put into an empty order, since a journal may know better: returns `None` then.
    """
    texts = {grid.sha256: grid.source} | ({} if text is None else {sha256(text).hexdigest(): text})
    for _ in range(_ATTEMPTS):
        held, order = await known(store)
        if not order and past is None:
            return None
        complete = joined(order, past or ())
        while complete and complete[-1] not in order and complete[-1].sha256 not in texts:
            complete = complete[:-1]  # no worker could judge by it
        wanted = followed(complete, grid.version, grid.sha256, TABLES_VERSION)
        now = wanted[-1]
        new = not order or now.sha256 != order[-1].sha256
        if wanted != order and not await store.swap(held, packed(wanted), texts.get(now.sha256) if new else None):
            continue
        superseded = now.tables != TABLES_VERSION
        if now.sha256 == grid.sha256:
            return Agreed(now, None, None, superseded)
        source = await store.text()
        if source is not None and sha256(source).hexdigest() == now.sha256:
            return Agreed(now, source, refusal(wanted, grid.version, grid.sha256), superseded)
    raise StoreUnavailable(f"the namespace's order of grids changed {_ATTEMPTS} times while it was read, or lacks its text")


async def put_in_force(store: OrderStore, grid: Grid) -> Entry:
    """Put *grid* and this program's tables in force, whatever was before; return their entry."""
    for _ in range(_ATTEMPTS):
        held, order = await known(store)
        wanted = forced(order, grid.version, grid.sha256, TABLES_VERSION)
        if await store.swap(held, packed(wanted), grid.source):
            return wanted[-1]
    raise StoreUnavailable(f"the namespace's order of grids changed {_ATTEMPTS} times while it was written")


async def order_up_to(store: OrderStore, number: int) -> Order:
    """Return the namespace's order up to the entry with this *number*, as a checkpoint keeps it."""
    _, order = await known(store)
    return tuple(entry for entry in order if entry.number <= number)


async def know_again(store: OrderStore, kept: Order, text: bytes) -> None:
    """Complete the namespace's order by what a checkpoint *kept*, whose last grid has this *text*.

    The cuts of before the checkpoint may be gone with the journal. Without them a grid that was in force before would be new.
    """
    if not kept or sha256(text).hexdigest() != kept[-1].sha256:
        return
    for _ in range(_ATTEMPTS):
        held, order = await known(store)
        complete = joined(order, kept)
        if complete == order:
            return
        last = complete[-1]
        new = not order or last.sha256 != order[-1].sha256
        if await store.swap(held, packed(complete), text if new else None):
            return
    raise StoreUnavailable(f"the namespace's order of grids changed {_ATTEMPTS} times while it was completed")
