"""The order of a namespace's grids and tables: the entry in force, and the grids that may follow it.

In a rolling change the workers' files and packages differ for a while. Each worker judging by its own file would judge all
leads again with every partition that moves. So the namespace has one order of grids, which only grows. A grid of a lower
version comes back only by an operator's word. The same holds for a grid that was in force before. The store holds the order
once. The journals hold each partition's part of it, and complete the order when the store has lost it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

KEPT: Final = 64
"""Entries that are remembered, the latest ones. An older grid of the same version would count as a new one."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What leads were judged by from some batch on."""

    number: int
    """Its place in the order, from 1 on."""
    version: int
    """Of the grid, as its file says."""
    sha256: str
    """Of the grid's text."""
    tables: str
    """`TABLES_VERSION` of the workers that judged every lead by it."""


Order = tuple[Entry, ...]
"""By rising number; the last is in force."""

_decoder = msgspec.json.Decoder(Order)


def packed(order: Order) -> bytes:
    """Return *order* as the store keeps it."""
    return msgspec.json.encode(order)


def unpacked(held: bytes | None) -> Order:
    """Open what `packed` packed; nothing is an order without entries. Raises `ValueError` for anything else."""
    try:
        return _decoder.decode(held) if held else ()
    except msgspec.MsgspecError as err:
        raise ValueError(str(err)) from err


def joined(order: Order, more: Iterable[Entry]) -> Order:
    """Return *order* with the entries that only journals or positions remember.

    Of two entries with one number, which come about when the store went back in time, that of *order* is the later.
    """
    known = {(entry.sha256, entry.number) for entry in order}
    added = [entry for entry in more if (entry.sha256, entry.number) not in known]
    merged = [(entry.number, place) for place, entry in enumerate((*added, *order))]
    entries = (*added, *order)
    return tuple(entries[place] for _, place in sorted(merged))[-KEPT:] if added else order


def refusal(order: Order, version: int, sha256: str) -> str | None:
    """Return why a grid may not follow the one in force; `None` where it may, or is in force."""
    if not order or sha256 == order[-1].sha256:
        return None
    now = order[-1]
    if version < now.version:
        return f"its version {version} is lower than {now.version}, that of the grid in force"
    if any(entry.sha256 == sha256 for entry in order):
        return "it was in force before, and another grid has followed it"
    return None


def followed(order: Order, version: int, sha256: str, tables: str) -> Order:
    """Return *order* with what a worker with this grid and these *tables* puts in force, if it may; else *order* itself.

    Tables that were in force before do not follow. Their worker goes on with them, and no lead is judged again for it.
    """
    if not order:
        return (Entry(1, version, sha256, tables),)
    now = order[-1]
    if refusal(order, version, sha256) is not None:
        version, sha256 = now.version, now.sha256
    if any(entry.tables == tables for entry in order):
        tables = now.tables
    if (sha256, tables) == (now.sha256, now.tables):
        return order
    return (*order, Entry(now.number + 1, version, sha256, tables))[-KEPT:]


def forced(order: Order, version: int, sha256: str, tables: str) -> Order:
    """Return *order* with this grid in force, whatever was before; all leads are judged again, by *tables*."""
    number = order[-1].number + 1 if order else 1
    return (*order, Entry(number, version, sha256, tables))[-KEPT:]


def must_begin(now: Entry, tables: str, grid: str, begun: str) -> bool:
    """Return whether a partition must judge all its leads again, by *now* and the worker's own *tables*.

    *grid*: sha256 of the grid of its last batch; *begun*: the tables by which all its leads were last judged. A worker with
    superseded tables begins nothing where the grid stays. So a partition may move to and fro between workers at no cost.
    """
    return grid != now.sha256 or (tables == now.tables and tables != begun)


def numbered(begun: Sequence[tuple[int, int, str, str]]) -> list[Entry]:
    """Return the entries that a partition has been through: (number, version, sha256, tables) of each, in its order.

    Journals of older versions give no numbers (0): each counts as the next after the one before.
    """
    found: list[Entry] = []
    for number, version, sha256, tables in begun:
        found.append(Entry(number or (found[-1].number + 1 if found else 1), version, sha256, tables))
    return found
