"""Results of a batch beside the states of its leads, and who records them."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.core.contract.model import AliasLeft, Cause, Event, Item, VisitorHistory
from worker.core.scoring.outputs import Published


@dataclass
class Effects(Published):
    """What the items of a batch bring about beside new states."""

    passed_on: list[tuple[int, Item]] = field(default_factory=list)
    """Messages for owners of other ids, and items forwarded from an alias to its lead. Each has the place of its item."""
    passed_bytes: int = 0
    """Bytes of the states in `passed_on`."""
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    """Valid events that their lead cannot hold: place among the items, reason (`plan.REFUSED`), and detail. They go to
    `lead.dead` as bad records do. They leave no trace in the lead, so a corrected event can follow under the same id. But where
    the detail says that traits are refused alone, all else of the event was taken."""
    refused_in_part: int = 0
    """Of `refused`, the events of which only some traits were refused."""
    duplicates: int = 0
    late: int = 0
    """Events older than their lead's clock, or not newer than their partition's last tick. They count all the same."""
    erased: int = 0
    """Events dropped because their lead was erased after them."""
    merged: int = 0
    """Visitors whose history became a lead's."""
    dropped: int = 0
    """Visitors whose history was dropped: their lead was erased, and a part of it may be older."""
    removed: int = 0
    """Leads that were idle past the grid's `retention`."""
    moved: int = 0
    """Aliases that went over from one lead to another."""


class Recorder:
    """Records what one item brings about. Without an item it records what time alone does."""

    def __init__(self, effects: Effects, place: int = 0, item: Item | None = None) -> None:
        self.effects = effects
        self.place = place
        """Of the item in its batch."""
        self._item = item

    @property
    def source(self) -> Event | Cause | None:
        """The event, or the cause that a message carries."""
        item = self._item
        if item is None or isinstance(item, Event):
            return item
        return None if isinstance(item, AliasLeft) else item.cause

    @property
    def cause(self) -> Cause | None:
        """The input record behind the item."""
        source = self.source
        return Cause(source.topic, source.partition, source.offset, source.id) if isinstance(source, Event) else source

    def by_time(self) -> Recorder:
        """Return a recorder for what time alone does before the item."""
        return Recorder(self.effects, self.place)

    def pass_on(self, item: Item) -> None:
        """Record that *item* is for the owner of another id."""
        self.effects.passed_on.append((self.place, item))
        if type(item) is VisitorHistory:
            self.effects.passed_bytes += len(item.state or b"")

    def refuse(self, reason: str, detail: str, *, in_part: bool = False) -> None:
        """Record that the lead cannot hold the event, or *in_part* some of its traits."""
        self.effects.refused.append((self.place, reason, detail))
        self.effects.refused_in_part += in_part
