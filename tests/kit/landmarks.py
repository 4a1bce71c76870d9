"""Rows of a learning table, worked out slowly: the log is replayed from its beginning for each lead and instant.

Only the phase of a lead's instants, and the signals of a state, are the program's own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from tests.kit.oracle_values import instant
from tests.kit.stories import DAY, Line
from worker.core.contract.model import Record
from worker.core.grid.models import Grid
from worker.core.insight.replay import Replay
from worker.core.scoring.score import read
from worker.core.scoring.signals import signals
from worker.core.scoring.state import LeadState, unpack
from worker.core.scoring.traits import unpack_traits, values
from worker.learning.group_fold import rows_of_group
from worker.learning.landmarks import (
    FLAGS,
    VISITOR,
    GroupRecord,
    Options,
    Row,
    Tally,
    first_instant,
    folding_grid,
    unpack_features,
)
from worker.learning.links import Groups, Linker

OURS = "/leadpulse/made-up"
"""Source of outputs in a log."""


def arrivals(lines: Sequence[Line]) -> list[int]:
    """Return when each line arrived: at the latest time up to it."""
    return list(accumulate((instant(line.get("tick") or line["time"]) for line in lines), max))


def is_output(line: Line) -> bool:
    """Return whether a line is an output of LeadPulse."""
    return line.get("source") == OURS


def grouped(lines: Sequence[Line], grid: Grid) -> list[list[GroupRecord]]:
    """Return the records of each connected group of ids, as an engine hands them to the fold."""
    groups, linker = Groups(), Linker(grid)
    records = []
    for line, arrival_ms in zip(lines, arrivals(lines), strict=True):
        if "tick" in line:
            continue
        value = json.dumps(line).encode()
        for one, other in linker.links(line["type"], Record("", 0, 0, None, None, value)):
            groups.join(one, other)
        records.append(GroupRecord(arrival_ms, None, is_output(line), line["type"], line["subject"], value))
    found: dict[str, list[GroupRecord]] = {}
    for record in records:
        found.setdefault(groups.name(record.subject), []).append(record)
    return [found[name] for name in sorted(found)]


def folded(lines: Sequence[Line], grid: Grid, options: Options, tally: Tally | None = None) -> list[Row]:
    """Return the rows of a log by the program's fold, sorted as in the table."""
    tally = Tally() if tally is None else tally
    scorer = folding_grid(grid, options)
    rows = [row for group in grouped(lines, grid) for row in rows_of_group(group, scorer, options, tally)]
    return sorted(rows, key=lambda row: (row.id, row.at_ms))


def shown(row: Row) -> dict[str, Any]:
    """Return a row with its features open, rounded as the naive ones are."""
    opened = row._asdict() | unpack_features(row.features)._asdict()
    del opened["features"], opened["days_to_handover"]
    return rounded(opened)


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its numbers to nine decimals: sums of merged histories round in another order."""
    numbers = {name: round(value, 9) + 0.0 for name, value in row.items() if isinstance(value, float)}
    return row | numbers | {"signals": {id_: round(value, 9) for id_, value in row["signals"].items()}}


class _Seen(NamedTuple):
    """An event that counted, with the lead that it was for when it came."""

    lead: str
    line: Line
    at_ms: int
    arrival_ms: int


class NaiveLog:
    """A log without erasures, of which each visitor is identified at most once, by a lead that is no visitor."""

    def __init__(self, lines: Sequence[Line], grid: Grid, options: Options) -> None:
        self.lines = lines
        self.grid = grid
        self.options = options
        self.arrived = arrivals(lines)
        self.seen: list[_Seen] = []
        self.sales: list[tuple[str, int, str]] = []
        """(lead, arrival, type) of `lead.mql` and `lead.sql`."""
        self.merged: dict[str, tuple[str, int]] = {}
        """Visitor → its lead, and when that arrived."""
        known: set[tuple[str, str]] = set()
        for line, arrival_ms in zip(lines, self.arrived, strict=True):
            if "tick" in line:
                continue
            lead = self.merged.get(line["subject"], (line["subject"], 0))[0]
            if is_output(line):
                self.sales.append((lead, arrival_ms, line["type"]))
            elif (lead, line["id"]) not in known:
                known.add((lead, line["id"]))
                self.seen.append(_Seen(lead, line, instant(line["time"]), arrival_ms))
                if line["type"] == "lead.identified" and line["data"]["anonymous_id"] != "nobody":
                    visitor = line["data"]["anonymous_id"]
                    self.merged.setdefault(visitor, (lead, arrival_ms))
                    known |= {(lead, id_) for subject, id_ in known if subject == visitor}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows by id and instant."""
        ids = sorted({line["subject"] for line in self.lines if "subject" in line and not is_output(line)})
        for id_ in ids:
            for at_ms, why in sorted(self._instants(id_).items()):
                row = self._row(id_, at_ms, why)
                if row is not None:
                    yield rounded(row)

    def _instants(self, id_: str) -> dict[int, str]:
        options = self.options
        first_ms = min(
            arrival_ms
            for line, arrival_ms in zip(self.lines, self.arrived, strict=True)
            if line.get("subject") == id_ and not is_output(line)
        )
        begin_ms = first_instant(id_, first_ms, options.every_ms)
        found = dict.fromkeys(range(begin_ms, options.end_ms + 1, options.every_ms), "every")
        for kind in ("lead.mql", "lead.sql"):
            found |= {at: FLAGS[kind] for lead, at, type_ in self.sales if (lead, type_) == (id_, kind) and at >= first_ms}
        return found

    def _row(self, id_: str, at_ms: int, why: str) -> dict[str, Any] | None:
        options = self.options
        end_ms = at_ms + options.horizon_ms
        if id_.startswith(VISITOR) or not options.edge_ms <= at_ms <= options.last_ms:
            return None
        if id_ in self.merged and self.merged[id_][1] <= end_ms:
            return None
        state = self._state(id_, at_ms)
        if state is None or not state.alive or not self._is_at_risk(id_, at_ms, state):
            return None
        later = [one for one in self.seen if one.lead == id_ and at_ms < one.arrival_ms <= end_ms]
        won = [one for one in later if one.line["type"] == "crm.won"]
        if any(one.at_ms <= at_ms for one in won):
            return None
        handed = any(one.line["type"] in ("crm.accepted", "crm.opportunity") for one in later)
        handed |= any(lead == id_ and type_ == "lead.sql" and at_ms <= at <= end_ms for lead, at, type_ in self.sales)
        return {
            "id": id_,
            "at_ms": at_ms,
            "why": why,
            "won": bool(won),
            "handed_over": handed,
            "days_to_won": min((one.at_ms - at_ms) / DAY for one in won) if won else None,
            **self._features(id_, at_ms, state),
        }

    def _state(self, id_: str, at_ms: int) -> LeadState | None:
        run = Replay(self.grid)
        for line, arrival_ms in zip(self.lines, self.arrived, strict=True):
            if arrival_ms <= at_ms and not is_output(line):
                run.line(json.dumps(line).encode())
        run.finish(at_ms)
        packed = run.state_of(id_)
        return None if packed is None else unpack(packed)

    def _is_at_risk(self, id_: str, at_ms: int, state: LeadState) -> bool:
        scorer = folding_grid(self.grid, self.options)
        if state.excluded_by_traits or scorer.excludes_by_event(state.exclusions):
            return False
        deeds = [
            (one.arrival_ms, one.at_ms, one.line["type"])
            for one in self.seen
            if one.lead == id_ and one.arrival_ms <= at_ms and one.line["type"].startswith("crm.")
        ]
        mine = self._ids_of(id_, at_ms)
        if any(one.line["type"] == "crm.won" for one in self.seen if one.lead in mine and one.arrival_ms <= at_ms):
            return False
        newest = [deed for n, deed in enumerate(deeds) if all(deed[1] >= other[1] for other in deeds[:n])]
        closes = [(arrival_ms, at) for arrival_ms, at, type_ in newest if type_ in ("crm.rejected", "crm.lost")]
        if closes and at_ms < closes[-1][1] + self.grid.stages.quiet:
            return False
        hands = [(arrival_ms, at) for arrival_ms, at, type_ in newest if type_ in ("crm.accepted", "crm.opportunity")]
        hands += [(at, at) for lead, at, type_ in self.sales if lead == id_ and type_ == "lead.sql" and at <= at_ms]
        reopened = max((arrival_ms for arrival_ms, _ in closes), default=-1)
        # Of one millisecond, what came later in the log counts: histories here have no two such lines.
        return not any(at < at_ms for arrival_ms, at in hands if arrival_ms > reopened)

    def _ids_of(self, id_: str, at_ms: int) -> set[str]:
        """Return the ids that are one with *id_* at an instant."""
        return {id_} | {visitor for visitor, (lead, arrival_ms) in self.merged.items() if lead == id_ and arrival_ms <= at_ms}

    def _features(self, id_: str, at_ms: int, state: LeadState) -> dict[str, Any]:
        scorer = folding_grid(self.grid, self.options)
        reading = read(scorer, state, at_ms)
        of_lead = {id_} | {
            visitor for visitor, (lead, arrival_ms) in self.merged.items() if lead == id_ and arrival_ms <= at_ms
        }
        mine = [one for one in self.seen if one.lead in of_lead and one.arrival_ms <= at_ms]
        traits = scorer.derived(values(unpack_traits(state.traits)))
        domain = traits.get("company.domain")
        return {
            "company": domain if isinstance(domain, str) else None,
            "score": reading.score,
            "fit": reading.fit,
            "engagement": reading.engagement,
            "age_days": (at_ms - min(one.at_ms for one in mine)) / DAY,
            "signals": signals(scorer, state, at_ms),
            "traits": {
                path: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                for path, value in traits.items()
                if path not in ("email", "phone")
            },
            "events": dict(Counter(one.line["type"] for one in mine)),
        }
