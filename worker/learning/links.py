"""Groups of ids that ever became one: connected components, in memory for linked ids alone."""

from __future__ import annotations

from collections.abc import Iterator

from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.core.grid.models import Grid
from worker.core.grid.scalars import is_blank
from worker.core.scoring.traits import TraitsRefused, leaves


class Groups:
    """Which ids belong together (union-find, with the smallest id as the name of a group)."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, one: str, other: str) -> None:
        """Put the groups of two ids together."""
        first, second = sorted((self.name(one), self.name(other)))
        if first != second:
            self._above[second] = first
            self._above.setdefault(first, first)

    def name(self, id_: str) -> str:
        """Return the name of the group of *id_*; the id itself where it is alone."""
        top = id_
        while (above := self._above.get(top, top)) != top:
            top = above
        while (above := self._above.get(id_, id_)) != top:
            self._above[id_] = top
            id_ = above
        return top

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield each linked id with the name of its group."""
        for id_ in self._above:
            yield id_, self.name(id_)


class Linker:
    """Finds what a record says about who is who."""

    def __init__(self, grid: Grid) -> None:
        self._by_address = grid.identity is not None and grid.identity.email == "link"

    def links(self, type_: str, record: Record) -> Iterator[tuple[str, str]]:
        """Yield pairs of ids that the *record* connects: a lead and its visitor, or a lead and its address."""
        if type_ != "lead.identified" and not (self._by_address and type_ == "profile.updated"):
            return
        event = decode(record)
        if not isinstance(event, Event):
            return
        if type_ == "lead.identified":
            visitor = event.data["anonymous_id"]
            if not is_blank(visitor):
                yield event.lead, visitor
            return
        try:
            found, _ = leaves(event.data["traits"])
        except TraitsRefused:
            return
        for path, value in found:
            if path == "email" and isinstance(value, str) and value.strip():
                yield event.lead, f"email:{value.strip().lower()}"
