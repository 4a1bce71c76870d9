"""Outputs of a lead: one CloudEvent a transition, with everything that explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from worker.core.contract.model import Cause, Event, Output
from worker.core.scoring.calendar import rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.fold import recent_type
from worker.core.scoring.packing import open_
from worker.core.scoring.phases import phase_name
from worker.core.scoring.prediction import predicted
from worker.core.scoring.reading import Reading
from worker.core.scoring.score import reasons
from worker.core.scoring.state import CONTACT, HISTORY_KEPT, STAGES, LeadState, pack_moves, unpack_moves
from worker.core.scoring.traits import unpack_traits, values

_json = msgspec.json.Encoder()


class Transition(NamedTuple):
    """What one transition was, for figures about all leads: no id."""

    type: str
    """The output's type."""
    origin: str
    """The stage left; the same as `to` where none was."""
    to: str
    score: float
    fit: float
    engagement: float
    stayed_ms: int | None
    """How long the lead was in the stage that it left; `None` where its last moves do not tell, or none was left."""
    at_ms: int = 0
    """The instant that it belongs to: its own, or that of the `lead.sql` whose SLA was breached."""
    p: float | None = None
    """The chance to be won, as published."""


@dataclass
class Published:
    """The outputs of a batch, in order."""

    outputs: list[Output] = field(default_factory=list)
    moves: list[Transition] = field(default_factory=list)
    """Describes each transition among the outputs."""
    caused: list[tuple[int, int]] = field(default_factory=list)
    """Each output that has a cause, by its place and the place of the item that caused it."""


class TransitionRecorder:
    """Writes the outputs of one lead. *cause* is the event that brings them about; time alone has none."""

    def __init__(
        self, scorer: CompiledGrid, lead: str, published: Published, cause: Event | Cause | None = None, place: int = 0
    ) -> None:
        self._scorer = scorer
        self._lead = lead
        self._published = published
        self._cause = cause
        self._place = place
        """Of the item at hand in its batch."""

    def merged(self, state: LeadState, at_ms: int, reading: Reading, into: str) -> None:
        """Write the visitor's end: from now on it is the lead *into*."""
        self(state, at_ms, "lead.stage", CONTACT, reading, into=into)

    def __call__(
        self,
        state: LeadState,
        at_ms: int,
        output: str,
        to: int,
        reading: Reading,
        respond_by: int = 0,
        phase: str = "",
        into: str = "",
    ) -> None:
        """Write the output of one transition, give it the lead's next number, and note a move of the stage in its history."""
        scorer = self._scorer
        data: dict[str, Any] = {
            "lead_id": self._lead,
            **_places(scorer, state, output, to, phase),
            "score": reading.score,
            "fit": reading.fit,
            "engagement": reading.engagement,
            "grade": scorer.grade(reading.fit, reading.engagement),
        }
        if respond_by:
            data["respond_by"] = rfc3339(respond_by)
        if into:
            data["merged_into"] = into
        if output == "lead.sql" and to == state.stage:
            data["explored"] = True
        traits = scorer.derived(values(unpack_traits(state.traits)))
        data |= {"grid": scorer.identity, "reasons": reasons(scorer, state, at_ms)}
        p: float | None = None
        if scorer.grid.prediction is not None:
            found = predicted(scorer, state, at_ms, stage=to, view=traits)
            data["prediction"] = found
            p = None if found is None else found.p
        data |= {
            "traits": traits,
            "recent": recent(state),
            "history": history(state),
            # An unanswered lead.sql is nobody's doing, whichever record shows that its time is up.
            "cause": None if output == "lead.sla_breached" else _cause(self._cause),
        }
        self._write(state, at_ms, output, data, None if into else _moved(state, at_ms, output, to, reading, p))
        if to != state.stage:
            moves = [*unpack_moves(state.history), (to, at_ms)]
            state.history = pack_moves(moves[-HISTORY_KEPT:])

    def erased(self, state: LeadState, at_ms: int) -> None:
        """Write `lead.erased`: downstream forgets the lead. Carries the id, the instant and the cause, nothing else."""
        self._write(state, at_ms, "lead.erased", {"lead_id": self._lead, "cause": _cause(self._cause)})

    def duplicate(self, state: LeadState, at_ms: int, email: str, held_by: Sequence[str]) -> None:
        """Write `lead.duplicate`: other leads have the lead's address *email*. No lead is merged on a guess."""
        data = {"lead_id": self._lead, "email": email, "held_by": list(held_by), "cause": _cause(self._cause)}
        self._write(state, at_ms, "lead.duplicate", data)

    def account(self, state: LeadState, at_ms: int, output: str, figures: dict[str, Any]) -> None:
        """Write `account.hot` or `account.cooled`, with the leads behind it; its number is that of the account's id."""
        members = [member | {"at": rfc3339(member["at"])} for member in figures["members"]]
        data = {
            "account_id": self._lead,
            "domain": self._lead.partition(":")[2],
            **figures,
            "members": members,
            "grid": self._scorer.identity,
            "cause": _cause(self._cause),
        }
        self._write(state, at_ms, output, data)

    def _write(self, state: LeadState, at_ms: int, output: str, data: dict[str, Any], moved: Transition | None = None) -> None:
        published, stage = self._published, STAGES[state.stage]
        published.moves.append(moved or Transition(output, stage, stage, 0.0, 0.0, 0.0, None, at_ms))
        if data["cause"] is not None:
            published.caused.append((len(published.outputs), self._place))
        state.sequence += 1
        event = {
            "specversion": "1.0",
            "type": output,
            "source": self._scorer.source,
            "id": f"{self._lead}:{state.sequence}",
            "subject": self._lead,
            "time": rfc3339(at_ms),
            "datacontenttype": "application/json",
            "sequence": str(state.sequence),
            "data": data,
        }
        published.outputs.append(Output(output, self._lead.encode(), _json.encode(event), CLOUDEVENT_HEADERS))


CLOUDEVENT_HEADERS = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


def _moved(state: LeadState, at_ms: int, output: str, to: int, reading: Reading, p: float | None) -> Transition:
    last = unpack_moves(state.history)[-1:] if to != state.stage else []
    stayed_ms = max(0, at_ms - last[0][1]) if last and last[0][0] == state.stage else None
    belongs_ms = state.sql_at_ms if output == "lead.sla_breached" else at_ms
    stages = STAGES[state.stage], STAGES[to]
    return Transition(output, *stages, reading.score, reading.fit, reading.engagement, stayed_ms, belongs_ms, p)


def recent(state: LeadState) -> list[dict[str, Any]]:
    """Return the last events, oldest first, as outputs show them."""
    return [{"time": rfc3339(at_ms), "type": type_, "label": label} for at_ms, type_, label in last_events(state)]


def last_events(state: LeadState) -> list[tuple[int, str, str]]:
    """Return (instant, type, label) of the last events, oldest first."""
    return [(at_ms, *recent_type(number, text)) for at_ms, number, text in open_(state.recent)]


def history(state: LeadState) -> list[dict[str, Any]]:
    """Return the last moves before the one at hand, oldest first, as outputs show them."""
    return [{"stage": STAGES[stage], "at": rfc3339(at)} for stage, at in unpack_moves(state.history)]


def _places(scorer: CompiledGrid, state: LeadState, output: str, to: int, phase: str) -> dict[str, str | None]:
    """Return from where to where the lead moves, and its phase after the output where the grid has phases."""
    stages: dict[str, str | None] = {"from": STAGES[state.stage], "to": STAGES[to]}
    if not scorer.phases:
        return stages
    held = phase_name(scorer, state)
    if output != "lead.phase":
        return {**stages, "phase": held}
    return {"from": held, "to": phase or None, "stage": STAGES[state.stage], "phase": phase or None}


def _cause(event: Event | Cause | None) -> dict[str, Any] | None:
    if event is None:
        return None
    return {"topic": event.topic, "partition": event.partition, "offset": event.offset, "event_id": event.id}
