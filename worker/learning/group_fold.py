"""One connected group of ids, folded by the core's own functions, with the rows of its leads.

A group is a lead with all ids that ever became one with it. Nothing of another group changes its rows. So any engine may fold
groups where it likes: a process of this machine, or a worker of a Spark cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from worker.core.batch.plan import Plan, plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record, Unknown
from worker.core.grid.scalars import is_blank
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.score import read
from worker.core.scoring.signals import signals
from worker.core.scoring.state import LeadState, unpack
from worker.core.scoring.traits import unpack_traits, values
from worker.learning.landmarks import (
    DAY_MS,
    FLAGS,
    VISITOR,
    Features,
    GroupRecord,
    Options,
    Row,
    Tally,
    Why,
    first_instant,
    pack_features,
    stronger,
)
from worker.learning.record_times import HANDED_OVER, RecordTimes
from worker.learning.standing import Candidate, Standing

PERSONAL: Final = frozenset({"email", "phone"})
"""Traits that are no features: they name a person. `email_kind` and `email_domain` stand for the address."""

_MOST_WAITING: Final = 500
"""Records that are folded at once."""
_encode: Final = msgspec.json.encode


class _View:
    """What rows need of a lead's traits; it changes only with them."""

    def __init__(self, scorer: CompiledGrid, state: LeadState) -> None:
        self.state = state
        self.traits = scorer.derived(values(unpack_traits(state.traits)))
        self.texts = {path: _encode(value).decode() for path, value in self.traits.items() if path not in PERSONAL}
        domain = self.traits.get("company.domain")
        self.company = domain if isinstance(domain, str) and not is_blank(domain) else None


class _Fold:
    """The states of a group between two records."""

    def __init__(self, scorer: CompiledGrid, options: Options, tally: Tally) -> None:
        self.scorer = scorer
        self.options = options
        self.tally = tally
        self.leads: dict[str, Standing] = {}
        self.times = RecordTimes()
        self.alias_of: dict[str, str] = {}
        self._states: dict[str, bytes | None] = {}
        self._due: dict[str, int | None] = {}
        self._alive: set[str] = set()
        self._views: dict[str, _View] = {}
        self._soonest_ms = 0
        """No lead has an instant before it."""
        self._waiting: list[tuple[Event, int]] = []

    # --- records ---

    def take(self, record: GroupRecord, offset: int) -> None:
        """Take one record; whatever arrived before it has been taken."""
        if record.output:
            self._output(record)
            return
        found = decode(Record("", 0, offset, record.timestamp_ms, None, record.value))
        if isinstance(found, Event):
            self._standing(found.lead, record.arrival_ms)
            self._waiting.append((found, record.arrival_ms))
            if len(self._waiting) >= _MOST_WAITING:
                self.flush()
        elif isinstance(found, Unknown):
            self.flush()
            self._standing(found.lead, record.arrival_ms)
            self.leads[self._root(found.lead)].events[found.type] += 1
            self.times.unknown(found.type, record.arrival_ms)
        else:
            self.tally.leave_out("bad_record")

    def _standing(self, lead: str, arrival_ms: int) -> Standing:
        found = self.leads.get(lead)
        if found is None:
            found = self.leads[lead] = Standing(first_instant(lead, arrival_ms, self.options.every_ms))
            self._soonest_ms = min(self._soonest_ms, found.next_ms)
        return found

    def _output(self, record: GroupRecord) -> None:
        """Take a recorded `lead.mql` or `lead.sql`."""
        self.flush()
        self._standing(record.subject, record.arrival_ms)
        id_, why = self._root(record.subject), FLAGS[record.type]
        if self.options.shadow:
            self._hand_over(self.leads[id_], record.arrival_ms, why)
        else:
            self._flag(id_, record.arrival_ms, why)
        if record.type in HANDED_OVER:
            self.times.handed_over(record.arrival_ms)

    def _root(self, lead: str) -> str:
        seen = {lead}
        while (above := self.alias_of.get(lead, "")) and above not in seen and above in self.leads:
            lead = above
            seen.add(lead)
        return lead

    def flush(self) -> None:
        """Fold what waits: at once if nothing of it needs a look of its own, else one by one."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if len(self.leads) == 1 and len(waiting) > 1:
            plan = self._planned([event for event, _ in waiting])
            if self._is_plain(plan):
                self._keep(plan)
                for event, arrival_ms in waiting:
                    self._count(event, arrival_ms)
                return
        for event, arrival_ms in waiting:
            self._rows_before(arrival_ms)  # at instants that the events before it brought about
            self._one(event, arrival_ms)

    def _planned(self, events: Sequence[Event]) -> Plan:
        before = {event.lead: self._states.get(event.lead) for event in events}
        return plan_events(self.scorer, before, events, None, find=self._states.get)

    def _is_plain(self, plan: Plan) -> bool:
        dropped = plan.duplicates or plan.erased or plan.refused or plan.passed_on or len(plan.writes) > 1
        return not dropped and not any(move.type in FLAGS or move.type == "lead.erased" for move in plan.moves)

    def _one(self, event: Event, arrival_ms: int) -> None:
        plan = self._planned([event])
        caused = {place for place, _ in plan.caused}
        for place, (move, output) in enumerate(zip(plan.moves, plan.outputs, strict=True)):
            if move.type in FLAGS and output.key is not None and place not in caused:
                self._by_time(output.key.decode(), move.at_ms, FLAGS[move.type])
        self._keep(plan)
        refused = bool(plan.refused) and not plan.refused_in_part
        if not (plan.duplicates or plan.erased or refused):
            self._count(event, arrival_ms)
        if len(plan.writes) > 1 or event.type == "lead.erased":
            self._relink(plan, arrival_ms)
        for place, (move, output) in enumerate(zip(plan.moves, plan.outputs, strict=True)):
            if move.type in FLAGS and output.key is not None and place in caused:
                self._flag(self._root(output.key.decode()), max(move.at_ms, arrival_ms), FLAGS[move.type])

    def _count(self, event: Event, arrival_ms: int) -> None:
        lead = self.leads[self._root(event.lead)]
        lead.take(event, arrival_ms, self.options.label)
        lead.arrived_ms = arrival_ms
        self.times.note(event, arrival_ms)

    def _keep(self, plan: Plan) -> None:
        for write in plan.writes:
            self._states[write.lead] = write.state or None
            self._due[write.lead] = write.due_ms
            self._views.pop(write.lead, None)
            (self._alive.add if write.stage else self._alive.discard)(write.lead)

    def _relink(self, plan: Plan, arrival_ms: int) -> None:
        """Follow what a record did to the links between ids, and to erased ones."""
        for write in plan.writes:
            state = unpack(write.state) if write.state else LeadState(alive=False)
            before, now = self.alias_of.get(write.lead, ""), state.identity.alias_of
            self.alias_of[write.lead] = now
            lead = self.leads.get(write.lead)
            if lead is not None and now and not before:
                lead.merged.append(arrival_ms)
                if plan.merged:
                    self._standing(self._root(now), arrival_ms).merge(lead)
                lead.gone()
        for move, output in zip(plan.moves, plan.outputs, strict=True):
            erased = self.leads.get((output.key or b"").decode()) if move.type == "lead.erased" else None
            if erased is not None:
                erased.left_out["erased"] += erased.forget()

    # --- time ---

    def until(self, before_ms: int) -> None:
        """Add the rows of all instants before *before_ms*."""
        if before_ms > self._soonest_ms:
            self.flush()
            self._rows_before(before_ms)

    def _rows_before(self, before_ms: int) -> None:
        if before_ms <= self._soonest_ms:
            return
        for id_, lead in list(self.leads.items()):
            while (at_ms := lead.soonest_ms()) < before_ms:
                self._pass(id_, at_ms)
                why = lead.flags.pop(at_ms, "every")
                if at_ms == lead.next_ms:
                    lead.next_ms += self.options.every_ms
                self._row(id_, lead, at_ms, why)
        self._soonest_ms = min((lead.soonest_ms() for lead in self.leads.values()), default=0)

    def _pass(self, id_: str, at_ms: int) -> None:
        """Let time pass for a lead, which may bring a `lead.mql` or `lead.sql` by itself."""
        due_ms = self._due.get(id_)
        if due_ms is None or due_ms > at_ms or not self.options.judges:
            return
        plan = plan_tick(self.scorer, {id_: self._states[id_]}, at_ms, None)
        for move in plan.moves:
            if move.type in FLAGS:
                self._by_time(id_, move.at_ms, FLAGS[move.type])
        self._keep(plan)

    def _by_time(self, id_: str, at_ms: int, why: Why) -> None:
        """Note an output that time alone caused, known at once unless it is seen only by a late record."""
        lead = self.leads[id_]
        known_ms = max(at_ms, lead.arrived_ms)
        lead.flags.pop(known_ms, None)
        self._row(id_, lead, known_ms, why)
        self._note(lead, known_ms, why)

    def _flag(self, id_: str, at_ms: int, why: Why) -> None:
        """Let the lead have a row at *at_ms*, once all that arrives at that instant is folded."""
        lead = self.leads[id_]
        lead.flags[at_ms] = stronger(lead.flags.get(at_ms, "every"), why)
        self._soonest_ms = min(self._soonest_ms, at_ms)
        self._note(lead, at_ms, why)

    def _note(self, lead: Standing, at_ms: int, why: Why) -> None:
        if not self.options.shadow:
            self._hand_over(lead, at_ms, why)

    def _hand_over(self, lead: Standing, at_ms: int, why: Why) -> None:
        if why == "sql":
            lead.handovers.append(at_ms)
            lead.hand_over(at_ms)

    def _row(self, id_: str, lead: Standing, at_ms: int, why: Why) -> None:
        """Add a candidate at *at_ms*, or count why there is none."""
        if self.alias_of.get(id_) or id_ not in self._alive:
            return
        out = self._left_out(id_, lead, at_ms)
        if out is not None:
            lead.left_out[out] += 1
            return
        held = lead.candidates.get(at_ms)
        if held is not None:
            lead.candidates[at_ms] = held._replace(why=stronger(held.why, why))
            return
        view = self._view(id_)
        state = view.state
        if state.excluded_by_traits or (state.exclusions and self.scorer.excludes_by_event(state.exclusions)):
            lead.left_out["excluded"] += 1
            return
        reading = read(self.scorer, state, at_ms)
        first_ms = at_ms if lead.first_ms is None else lead.first_ms
        features = Features(
            (at_ms - first_ms) / DAY_MS,
            signals(self.scorer, state, at_ms, view.traits),
            view.texts,
            dict(sorted(lead.events.items())),
        )
        self.tally.traits |= view.texts.keys()
        self.tally.types |= lead.events.keys()
        packed = pack_features(features)
        lead.candidates[at_ms] = Candidate(at_ms, why, view.company, reading.score, reading.fit, reading.engagement, packed)

    def _left_out(self, id_: str, lead: Standing, at_ms: int) -> str | None:
        if id_.startswith(VISITOR):
            return "anonymous"
        out = lead.why_not(at_ms, self.scorer.quiet)
        if out is None and at_ms > self.options.last_ms:
            out = "immature"
        elif out is None and at_ms < self.options.edge_ms:
            out = "left_edge"
        return out

    def _view(self, id_: str) -> _View:
        view = self._views.get(id_)
        if view is None:
            packed = self._states[id_]
            view = self._views[id_] = _View(self.scorer, LeadState(alive=False) if packed is None else unpack(packed))
        return view

    def end(self) -> None:
        """Fold what waits, and let time pass until the end of the log."""
        self.flush()
        self.until(self.options.end_ms + 1)
        for id_ in self.leads:
            if id_ in self._alive:
                self._pass(id_, self.options.end_ms)


def rows_of_group(records: Iterable[GroupRecord], scorer: CompiledGrid, options: Options, tally: Tally) -> list[Row]:
    """Return the rows of one connected group of ids, and add what was left out to *tally*.

    *records*: all inputs of the group's ids, and its `lead.mql` and `lead.sql` outputs where they are recorded, in order of
    arrival. *scorer* is that of `folding_grid`. A row at t holds what had arrived by t. Its outcome depends on records up to
    the end of its horizon, and nothing depends on later ones. Rows come by id, then by instant.
    """
    fold = _Fold(scorer, options, tally)
    for offset, record in enumerate(records):
        if record.arrival_ms > options.end_ms:
            break
        fold.until(record.arrival_ms)
        fold.take(record, offset)
    fold.end()
    tally.count(fold.times.counted())
    rows: list[Row] = []
    for id_, lead in sorted(fold.leads.items()):
        found = [_judged(id_, lead, candidate, options) for _, candidate in sorted(lead.candidates.items())]
        rows += [row for row in found if row is not None]
        for why, count in sorted((+lead.left_out).items()):
            tally.leave_out(why, count, 1)
    _count_months([row for row in rows if row.at_ms <= options.mature_ms], tally)
    return rows


def _judged(id_: str, lead: Standing, candidate: Candidate, options: Options) -> Row | None:
    """Return the candidate with its outcome; `None`: by then it was no lead of its own, or was won already."""
    at_ms = candidate.at_ms
    end_ms = at_ms + options.horizon_ms
    if any(at_ms < merged_ms <= end_ms for merged_ms in lead.merged):
        lead.left_out["anonymous"] += 1
        return None
    known = [one for one in lead.reached if one.arrival_ms <= end_ms]
    if any(one.at_ms <= at_ms < one.arrival_ms for one in known):
        lead.left_out["late_outcome"] += 1
        return None
    won_ms = min((one.at_ms for one in known if one.at_ms > at_ms), default=None)
    handed = [handed_ms for handed_ms in lead.handovers if at_ms < handed_ms <= end_ms]
    if candidate.why == "sql" and not options.shadow:
        handed.append(at_ms)
    return Row(
        id_,
        at_ms,
        candidate.why,
        won_ms is not None,
        bool(handed),
        candidate.company,
        candidate.score,
        candidate.fit,
        candidate.engagement,
        None if won_ms is None else (won_ms - at_ms) / DAY_MS,
        (min(handed) - at_ms) / DAY_MS if handed else None,
        candidate.features,
    )


def _count_months(rows: Sequence[Row], tally: Tally) -> None:
    """Count the leads of each month, and those that are won, over the ids of a group."""
    seen: dict[tuple[str, str], bool] = {}
    for row in rows:
        key = (month_of(row.at_ms), row.id)
        seen[key] = seen.get(key, False) or row.won
    for (month, _), won in seen.items():
        tally.month(month, won)


def month_of(at_ms: int) -> str:
    """Return the month of an instant in UTC, as in 2026-03."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m")
