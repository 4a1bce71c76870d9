"""One worker's reads and writes of the namespace's order of grids and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from worker.core.grid.content import content_sha256
from worker.core.grid.models import Grid
from worker.core.grid.order import Entry, Order, followed, forced, joined, packed, refusal, unpacked
from worker.core.grid.tables import TABLES_VERSION
from worker.errors import StoreRefused, StoreUnavailable
from worker.ports import OrderStore

_ATTEMPTS: Final = 20


class Agreed(NamedTuple):
    """The grid in force in the namespace, and whether the worker's own grid is it."""

    entry: Entry
    text: bytes | None
    """Text of the grid in force, if it is not the worker's own."""
    refusal: str | None
    """Why the worker's own grid is not in force; `None` if it is."""
    superseded: bool
    """Other tables than the worker's are in force now."""


async def known(store: OrderStore) -> tuple[bytes | None, Order]:
    """Return the namespace's order, as stored and decoded. Raises `StoreRefused` if it cannot be read."""
    held = await store.order()
    try:
        return held, unpacked(held)
    except ValueError as err:
        raise StoreRefused(
            f"the order of grids cannot be read ({err}): run the version of the worker that wrote it, or delete its key"
        ) from err


async def agree(store: OrderStore, grid: Grid, past: Iterable[Entry] | None = None, text: bytes | None = None) -> Agreed | None:
    """Add *grid* and this worker's tables to the order if they may follow; return the grid in force.

    *past* holds the entries that a partition has been through, and *text* is the text of the last one. They complete an order
    that the store has lost. Without *past* an empty order stays empty, because a journal may know more. The result is `None`
    then.
    """
    texts = {grid.sha256: grid.source} | ({} if text is None else {content_sha256(text): text})
    for _ in range(_ATTEMPTS):
        held, order = await known(store)
        if not order and past is None:
            return None
        wanted = followed(_completed(order, past or (), texts), grid.version, grid.sha256, TABLES_VERSION)
        if wanted != order and not await store.swap(held, packed(wanted), _new_text(order, wanted, texts)):
            continue
        agreed = await _agreed(store, grid, wanted)
        if agreed is not None:
            return agreed
    raise StoreUnavailable(f"the namespace's order of grids changed {_ATTEMPTS} times while it was read, or lacks its text")


def _completed(order: Order, past: Iterable[Entry], texts: Mapping[str, bytes]) -> Order:
    """Return *order* with the entries of *past* that it lacks. Leave out last ones without a text: no worker could judge."""
    complete = joined(order, past)
    while complete and complete[-1] not in order and complete[-1].sha256 not in texts:
        complete = complete[:-1]
    return complete


def _new_text(order: Order, wanted: Order, texts: Mapping[str, bytes]) -> bytes | None:
    """Return the text of the last grid of *wanted*; `None` if that is the last one of *order*, whose text is stored."""
    last = wanted[-1].sha256
    return texts.get(last) if not order or last != order[-1].sha256 else None


async def _agreed(store: OrderStore, grid: Grid, order: Order) -> Agreed | None:
    """Return the grid in force by *order*; `None` if the store's text is not that grid's, because the order has changed."""
    now = order[-1]
    superseded = now.tables != TABLES_VERSION
    if now.sha256 == grid.sha256:
        return Agreed(now, None, None, superseded)
    source = await store.text()
    if source is None or content_sha256(source) != now.sha256:
        return None
    return Agreed(now, source, refusal(order, grid.version, grid.sha256), superseded)


async def put_labels(store: OrderStore, grid: Grid) -> None:
    """Store the text of *grid*, if it is the grid in force with other labels. No lead is judged again for that."""
    held, order = await known(store)
    if order and order[-1].sha256 == grid.sha256 and await store.text() != grid.source:
        await store.swap(held, packed(order), grid.source)  # whoever came before has stored a text, too


async def put_in_force(store: OrderStore, grid: Grid) -> Entry:
    """Put *grid* and this program's tables in force in any case; return their entry."""
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
    """Complete the namespace's order by the entries that a checkpoint *kept*. *text* is the text of the last one.

    The journal may have lost the cuts before the checkpoint. Without them a grid that was in force before would seem new.
    """
    if not kept or content_sha256(text) != kept[-1].sha256:
        return
    for _ in range(_ATTEMPTS):
        held, order = await known(store)
        complete = joined(order, kept)
        if complete == order:
            return
        if await store.swap(held, packed(complete), _new_text(order, complete, {kept[-1].sha256: text})):
            return
    raise StoreUnavailable(f"the namespace's order of grids changed {_ATTEMPTS} times while it was completed")
