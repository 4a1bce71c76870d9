"""One lead at one instant: its points, the way to the next stage, and what time alone brings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from worker.core.batch.lead import Lead
from worker.core.contract.model import Predicted, Reason, Record
from worker.core.contract.partitioner import owner
from worker.core.contract.printable import plain
from worker.core.grid.labels import NO_LABELS
from worker.core.grid.models import Grid
from worker.core.grid.words import labels_of
from worker.core.identity.aliases import MOST_HOPS
from worker.core.insight.explain import Change, Part, Step, Totals, ahead, steps, totals, waterfall
from worker.core.insight.replay import Replay
from worker.core.insight.trajectory import StageChange
from worker.core.insight.what_if import Upward, upward
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.outputs import history, recent
from worker.core.scoring.phases import phase_name
from worker.core.scoring.prediction import predicted
from worker.core.scoring.score import read, reasons
from worker.core.scoring.stages import advance
from worker.core.scoring.state import STAGES, LeadState, UnreadableState, unpack
from worker.core.scoring.traits import unpack_traits, values
from worker.errors import LeadNotHeld
from worker.queries.leads import held_leads, leads_with_mark
from worker.settings import ReaderSettings

Note = Callable[[str], None]
"""Called with each line about the lead that is not part of the answer."""


class Explained(msgspec.Struct, frozen=True):
    """One lead at one instant."""

    lead_id: str
    score: float
    fit: float
    engagement: float
    grade: str | None
    stage: str
    sequence: int
    as_of: str
    respond_by: str | None
    """Until when sales must answer the pending `lead.sql`."""
    reasons: list[Reason]
    """As outputs carry them."""
    waterfall: list[Part]
    """The same points before and after time, caps and clamps; what has expired is there, too."""
    totals: Totals
    next_stage: Upward
    ahead: list[Change]
    """What time alone brings within 90 days, in order, at most ten changes."""
    steps: list[Step]
    """The first ten points that time alone takes or gives at once within 90 days."""
    traits: dict[str, Any]
    recent: list[dict[str, Any]]
    history: list[dict[str, Any]]
    redis_key: str | None
    """Where Redis holds the lead; `None` when files were replayed."""
    phase: str | msgspec.UnsetType | None = msgspec.UNSET
    """Under a grid with phases: the buying phase; null: none."""
    prediction: Predicted | msgspec.UnsetType = msgspec.UNSET
    """Under a grid with a model: the chance that the lead is won, and its factors."""
    labels: Mapping[str, str] = NO_LABELS
    """What people call rules, velocities and exclusions, by id; those that have a label."""
    page_labels: Mapping[str, str] = NO_LABELS
    """What people call page types."""


class JudgedLead(NamedTuple):
    """A lead that stands judged at an instant."""

    scorer: CompiledGrid
    lead: str
    state: LeadState
    now_ms: int
    redis_key: str | None = None
    turns: list[StageChange] | None = None
    """Its whole past, where files were replayed."""

    def explained(self, language: str = "en") -> Explained:
        """Return the lead with every reason for where it stands, and with the grid's labels in *language*."""
        scorer, lead, state, now_ms = self.scorer, self.lead, self.state, self.now_ms
        reading = read(scorer, state, now_ms)
        labels = labels_of(scorer.grid, language)
        parts = waterfall(scorer, state, now_ms, labels.rules)
        return Explained(
            lead_id=lead,
            score=reading.score,
            fit=reading.fit,
            engagement=reading.engagement,
            grade=scorer.grade(reading.fit, reading.engagement),
            stage=STAGES[state.stage],
            sequence=state.sequence,
            as_of=rfc3339(now_ms),
            respond_by=rfc3339(state.respond_by_ms) if state.respond_by_ms else None,
            reasons=reasons(scorer, state, now_ms),
            waterfall=parts,
            totals=totals(parts),
            next_stage=upward(scorer, state, now_ms),
            ahead=ahead(scorer, state, now_ms),
            steps=steps(scorer, state, now_ms, labels.rules),
            traits=scorer.derived(values(unpack_traits(state.traits))),
            recent=recent(state),
            history=history(state),
            redis_key=self.redis_key,
            phase=phase_name(scorer, state) if scorer.phases else msgspec.UNSET,
            prediction=predicted(scorer, state, now_ms) or msgspec.UNSET,
            labels=labels.rules,
            page_labels=labels.pages,
        )


async def lead_with_mark(settings: ReaderSettings, mark: str) -> str:
    """Return the one lead whose mark begins with *mark*. Raises `LeadNotHeld` for none, and for several."""
    leads = await leads_with_mark(settings, mark.lower())
    if not leads:
        raise LeadNotHeld(f"no lead of namespace {settings.namespace} has the mark {mark}: it may have been removed")
    if len(leads) > 1:
        shown = ", ".join(map(plain, leads[:10]))
        raise LeadNotHeld(f"{len(leads)} leads have marks that begin with {mark}: {shown}; name one of them by its id")
    return leads[0]


async def live(settings: ReaderSettings, lead: str, at_ms: int | None, grid: str | None, note: Note) -> JudgedLead:
    """Return *lead* as Redis holds it, judged at *at_ms* or at its clock.

    *grid*: a what-if, in place of the grid in force. Raises `LeadNotHeld`, and what `held_leads` raises.
    """
    async with held_leads(settings, grid) as leads:
        partition = owner(lead, settings.partitions)
        fields = await leads.stores[partition].lead(lead)
        for _ in range(MOST_HOPS):
            alias_of = _alias_of(note, lead, fields.get("state"))
            if not alias_of:
                break
            lead, partition = alias_of, owner(alias_of, settings.partitions)
            fields = await leads.stores[partition].lead(lead)
        where = f"namespace {settings.namespace}, partition {partition} of {settings.partitions}"
        tick_ms = leads.positions[partition].clock_ms
        judged = _judge(_Held(leads.scorers[partition], lead, fields.get("state"), tick_ms, where), at_ms, note)
        return judged._replace(redis_key=f"{{{settings.namespace}:{partition}}}:lead:{lead}")


def _alias_of(note: Note, lead: str, packed: bytes | None) -> str:
    """Return the lead that *lead* is an alias of, and note it; empty when it is none, or its state cannot be read."""
    alias_of = ""
    with contextlib.suppress(UnreadableState):
        alias_of = "" if packed is None else unpack(packed).identity.alias_of
    if alias_of:
        note(f"{plain(lead)} is known as {plain(alias_of)}")
    return alias_of


def replayed(grid: Grid, lead: str, records: Iterable[Record], where: str, at_ms: int | None, note: Note) -> JudgedLead:
    """Return *lead* as a replay of *records* gives it, judged at *at_ms* or at its clock.

    A line of a file is a record, too (`Replay.record`). *where*: how messages call the files. Raises `LeadNotHeld`.
    """
    run = Replay(grid, watched=lead)
    for record in records:
        run.record(record)
    run.finish(at_ms)
    asked, packed = lead, run.state_of(lead)
    for _ in range(MOST_HOPS):
        alias_of = _alias_of(note, lead, packed)
        if not alias_of:
            break
        lead, packed = alias_of, run.state_of(alias_of)
    for file, number, reason in run.refused:
        note(plain(f"{file}:{number}: {reason}"))
    judged = _judge(_Held(run.scorer, lead, packed, run.clock_ms, where), at_ms, note)
    return judged._replace(turns=run.turns if lead == asked else [])


class _Held(NamedTuple):
    """A lead as Redis or a replay holds it."""

    scorer: CompiledGrid
    lead: str
    packed: bytes | None
    tick_ms: int | None
    """Last tick of its partition."""
    where: str
    """How messages name the place that was searched."""


def _judge(held: _Held, at_ms: int | None, note: Note) -> JudgedLead:
    """Judge the lead at *at_ms* or at its clock. Raises `LeadNotHeld`."""
    lead = _opened(held)
    state, now_ms = lead.state, lead.at_ms
    if at_ms is not None and at_ms > now_ms:
        advance(held.scorer, state, now_ms, at_ms, lead.by_time)
        now_ms = at_ms
    elif at_ms is not None and at_ms < now_ms:
        note(f"the lead's clock is past {rfc3339(at_ms)} already; judged at {rfc3339(now_ms)}")
    return JudgedLead(held.scorer, held.lead, state, now_ms)


def _opened(held: _Held) -> Lead:
    """Return the lead at its clock. Raises `LeadNotHeld` with where it was searched, and why it may be gone."""
    name, where = held.lead, held.where
    if held.packed is None:
        raise LeadNotHeld(f"lead {name} is not held ({where}): no event with this subject has been taken")
    lead = Lead(held.scorer, name, held.packed, held.tick_ms)
    if lead.state.alive:
        return lead
    if lead.state.erased_ms:
        erased = rfc3339(lead.state.erased_ms)
        raise LeadNotHeld(f"lead {name} was erased: only the mark of its erasure at {erased} is kept")
    raise LeadNotHeld(f"lead {name} is not held ({where}): it was removed after the grid's retention, or never was a lead")
