"""Landmarks: the instants at which a lead has a row, which of them count, and the outcome after each.

An instant is chosen without looking at the outcome. A row that is chosen because something happened later knows that it will
happen (van Houwelingen and Putter, “landmarking”).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec
import xxhash

from worker.core.grid.models import Grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.learning.record_times import Arrivals

DAY_MS: Final = 86_400_000
FIRST_MS: Final = 7 * DAY_MS
"""A row that was followed for less tells nothing: the first interval of a hazard has seven days."""

VISITOR: Final = "visitor:"
"""Ids that begin so are browsers. Nobody can be called under them, so they have no rows of their own."""

Label = Literal["won", "opportunity", "accepted"]
Why = Literal["every", "mql", "sql"]

REACHED: Final[dict[Label, frozenset[str]]] = {
    "won": frozenset({"crm.won"}),
    "opportunity": frozenset({"crm.opportunity", "crm.won"}),
    "accepted": frozenset({"crm.accepted", "crm.opportunity", "crm.won"}),
}
"""Label → types of events that reach it. A later state of the deal implies the earlier ones."""

HANDED_OVER: Final = frozenset({"crm.accepted", "crm.opportunity"})
CLOSES: Final = frozenset({"crm.rejected", "crm.lost"})
FLAGS: Final[dict[str, Why]] = {"lead.mql": "mql", "lead.sql": "sql"}
"""Type of an output → why a row stands at its instant."""
_RANK: Final[dict[Why, int]] = {"every": 0, "mql": 1, "sql": 2}


class Options(msgspec.Struct, frozen=True):
    """How rows are made, once the whole log has been looked at."""

    horizon_ms: int
    every_ms: int
    end_ms: int
    """The end of the log."""
    edge_ms: int
    """No row stands before it: signals of earlier instants would lack events from before the log."""
    label: Label = "won"
    recorded: bool = False
    """The log holds outputs: its own `lead.mql` and `lead.sql` count. Otherwise those of the grid at hand do."""
    shadow: bool = False
    """The `lead.mql` and `lead.sql` of the grid at hand mark instants and hand no lead over, whatever the log holds.

    So two grids have the same rows, and a lead stays in them until sales in fact had it.
    """

    young: bool = False
    """Rows whose horizon ends after the log have a place too, if they were followed to the end of the first interval."""

    @property
    def judges(self) -> bool:
        """Whether the grid at hand moves leads up."""
        return self.shadow or not self.recorded

    @property
    def mature_ms(self) -> int:
        """The last instant whose horizon has ended."""
        return self.end_ms - self.horizon_ms

    @property
    def last_ms(self) -> int:
        """The last instant that a row may have."""
        return self.end_ms - min(FIRST_MS, self.horizon_ms) if self.young else self.mature_ms


class GroupRecord(NamedTuple):
    """A record of a group of ids, in order of arrival."""

    arrival_ms: int
    timestamp_ms: int | None
    """Of Kafka; `None`: a line of a file."""
    output: bool
    type: str
    subject: str
    value: bytes
    """The CloudEvent. Of an output, nothing."""


class Row(NamedTuple):
    """One lead at one instant."""

    id: str
    at_ms: int
    why: Why
    won: bool
    handed_over: bool
    """Handed over to sales within the horizon."""
    company: str | None
    score: float
    fit: float
    engagement: float
    days_to_won: float | None
    days_to_handover: float | None
    """Days to the first handover within the horizon."""
    features: bytes
    """What `pack_features` packed."""


class Features(NamedTuple):
    """The features of one row, each with what it is not 0 or missing for."""

    age_days: float
    signals: dict[str, float]
    traits: dict[str, str]
    """Path → JSON text."""
    events: dict[str, int]
    """Type → how many."""


def pack_features(features: Features) -> bytes:
    """Return *features* as bytes, the same for the same values."""
    return msgspec.msgpack.encode(list(features))


_unpacked: Final = msgspec.msgpack.Decoder(tuple[float, dict[str, float], dict[str, str], dict[str, int]])


def unpack_features(packed: bytes) -> Features:
    """Return what `pack_features` packed."""
    return Features(*_unpacked.decode(packed))


class Tally(msgspec.Struct):
    """Counts over groups. Those of several parts add up."""

    rows: dict[str, int] = {}
    """Reason → instants that have no row."""
    leads: dict[str, int] = {}
    """Reason → leads with such instants."""
    month_leads: dict[str, int] = {}
    """Month of rows → leads that have one there."""
    month_won: dict[str, int] = {}
    """Those of them with a row that is won."""
    traits: set[str] = set()
    types: set[str] = set()
    records: dict[str, Arrivals] = {}
    """`event:TYPE` and `trait:PATH` → when such records arrived."""

    def leave_out(self, why: str, rows: int = 1, leads: int = 0) -> None:
        """Count *rows* that are not there, of so many leads."""
        self.rows[why] = self.rows.get(why, 0) + rows
        self.leads[why] = self.leads.get(why, 0) + leads

    def month(self, month: str, won: bool) -> None:
        """Count a lead that has rows in *month*."""
        self.month_leads[month] = self.month_leads.get(month, 0) + 1
        self.month_won[month] = self.month_won.get(month, 0) + won

    def add(self, other: Tally) -> None:
        """Add the counts of *other*."""
        for name in ("rows", "leads", "month_leads", "month_won"):
            mine = getattr(self, name)
            for key, count in getattr(other, name).items():
                mine[key] = mine.get(key, 0) + count
        self.traits |= other.traits
        self.types |= other.types
        self.count(other.records)

    def count(self, records: Mapping[str, Arrivals]) -> None:
        """Add counts of when records arrived."""
        for name, seen in records.items():
            self.records.setdefault(name, Arrivals()).add(seen)


def first_instant(lead: str, since_ms: int, every_ms: int) -> int:
    """Return the lead's first instant at *since_ms* or later. Each lead has a phase of its own, by a hash of its id.

    With a common Monday, “events of the last day” would always be those of a Sunday.
    """
    phase = xxhash.xxh3_64_intdigest(lead.encode()) % every_ms
    return since_ms + (phase - since_ms) % every_ms


def stronger(one: Why, other: Why) -> Why:
    """Return which of two reasons for a row at one instant counts."""
    return one if _RANK[one] >= _RANK[other] else other


def longest_memory_ms(grid: Grid) -> int:
    """Return how far back the grid looks: its longest window, and four half-lives.

    A rule without decay looks back for ever, so it does not count here.
    """
    spans = [4 * rule.half_life for rule in grid.engagement.rules if rule.half_life]
    spans += [
        span
        for rule in grid.engagement.rules
        if rule.decay is not None
        for span in (rule.decay.linear, rule.decay.window)
        if span
    ]
    spans += [rule.within_days * DAY_MS * (2 if rule.count == "rise" else 1) for rule in grid.velocity]
    return max(spans, default=0)


def folding_grid(grid: Grid, options: Options) -> CompiledGrid:
    """Return the grid as the table reads it.

    Leads are never removed, or the losers would be missing. Accounts and phases change no score. Where recorded outputs
    count, the grid's own ladder is of no use. An address links ids only where the grid has `link`.
    """
    without: dict[str, Any] = {"retention": None, "accounts": None, "phases": {}}
    if grid.identity is not None and grid.identity.email != "link":
        without["identity"] = None
    if not options.judges:
        without["stages"] = grid.stages.model_copy(update={"mql": None, "sql": None})
    return CompiledGrid(grid.model_copy(update=without), "/leadpulse/learn")
