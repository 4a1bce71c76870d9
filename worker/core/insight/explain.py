"""Why a lead stands where it stands, and what time alone will do to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from worker.core.contract.model import Reason
from worker.core.grid.labels import NO_LABELS
from worker.core.scoring.calendar import DAY_MS, rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.parts import earned_points
from worker.core.scoring.phases import phase_name
from worker.core.scoring.reading import Reading
from worker.core.scoring.score import in_grid_order, read, reasons
from worker.core.scoring.stages import advance
from worker.core.scoring.state import STAGES, Count, LeadState, pack, unpack

AHEAD_MS: Final = 90 * DAY_MS
MOST_AHEAD: Final = 10


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the waterfall: earned + by_time + by_cap = points, and all points add up to the score."""

    kind: str
    """`fit`, `rule`, `group`, `velocity`, `inactivity` or `clamp`."""
    earned: float
    """Points before time, caps and clamps. That is a rule's points times its count, or times its weights where each is kept."""
    by_time: float
    """What decay, expiry or inactivity took; positive where a penalty faded."""
    by_cap: float
    """What a rule's cap, a group or a clamp took."""
    points: float
    """What is left: the same as in the outputs' `reasons`."""
    id: str | None = None
    label: str | None = None
    """What people call the rule."""
    count: int | None = None
    last_at: str | None = None
    expired: bool = False
    row: str | None = None
    """Of a fit rule with a table: the key or the floor of the row that the lead meets, or `else`."""
    place: int | None = None
    """Of inactivity in several tiers: the tier's place in the grid, from 1."""


class Totals(msgspec.Struct, frozen=True):
    """The waterfall in five numbers: earned + by_time + by_cap is the score, decay + expiry + inactivity is by_time."""

    earned: float
    by_time: float
    decay: float
    expiry: float
    inactivity: float
    by_cap: float


def waterfall(scorer: CompiledGrid, state: LeadState, at_ms: int, labels: Mapping[str, str] = NO_LABELS) -> list[Part]:
    """Return where every point of the score at *at_ms* came from and what became of it.

    The order is fit, rules, groups, velocity, inactivity, clamps. Fit and rules have what weighs most first.
    *labels*: what people call a rule, by id.
    """
    found = reasons(scorer, state, at_ms)
    rules = {reason.id: reason for reason in found if reason.kind == "rule"}
    parts = [_plain(reason, labels) for reason in found if reason.kind != "rule"]
    parts += [
        _counted(rule.id, earned_points(rule, count, at_ms), count, rules.get(rule.id), labels)
        for rule, count in in_grid_order(scorer, state)
        if rule.points and count.n
    ]
    return sorted(parts, key=_place)


_KINDS: Final = ("fit", "rule", "group", "velocity", "inactivity", "clamp")


def _place(part: Part) -> tuple[int, float]:
    return _KINDS.index(part.kind), -abs(part.points) if part.kind in ("fit", "rule") else 0.0


def _plain(reason: Reason, labels: Mapping[str, str]) -> Part:
    points, id_ = reason.points, reason.id
    match reason.kind:
        case "clamp" | "group":
            return Part(reason.kind, 0.0, 0.0, points, points, id_)
        case "inactivity":
            return Part("inactivity", 0.0, points, 0.0, points, place=reason.place)
        case _:
            label = labels.get(id_ or "")
            return Part(reason.kind, points, 0.0, 0.0, points, id_, label, reason.count, row=reason.row)


def _counted(id_: str, earned: float, count: Count, reason: Reason | None, labels: Mapping[str, str]) -> Part:
    """Return a rule's line; without a *reason* nothing is left of it."""
    left, points = (0.0, 0.0) if reason is None or reason.raw is None else (reason.raw, reason.points)
    return Part(
        "rule",
        earned,
        left - earned,
        points - left,
        points,
        id_,
        labels.get(id_),
        count.n,
        rfc3339(count.last_ms),
        expired=reason is None,
    )


def totals(parts: list[Part]) -> Totals:
    """Return the sums of the waterfall."""
    decay = math.fsum(part.by_time for part in parts if part.kind == "rule" and not part.expired)
    expiry = math.fsum(part.by_time for part in parts if part.expired)
    inactivity = math.fsum(part.by_time for part in parts if part.kind == "inactivity")
    earned, by_cap = math.fsum(part.earned for part in parts), math.fsum(part.by_cap for part in parts)
    return Totals(earned, decay + expiry + inactivity, decay, expiry, inactivity, by_cap)


class Change(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Something that time alone will do to the lead: an output that would be published."""

    time: str
    type: str
    from_: str | None
    """The stage, or for `lead.phase` the phase; null: none."""
    to: str | None


def ahead(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[Change]:
    """Return what the next 90 days bring a lead that stands judged at *at_ms*, if nothing happens: the first ten changes."""
    found: list[Change] = []

    def hear(
        state: LeadState, at_ms: int, output: str, to: int, reading: Reading, respond_by: int = 0, phase: str = ""
    ) -> None:
        if output == "lead.phase":
            found.append(Change(rfc3339(at_ms), output, phase_name(scorer, state), phase or None))
        else:
            found.append(Change(rfc3339(at_ms), output, STAGES[state.stage], STAGES[to]))

    advance(scorer, unpack(pack(state)), at_ms, at_ms + AHEAD_MS, hear)
    return found[:MOST_AHEAD]


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """Points of one part of the score that time alone takes, or gives, at one instant."""

    time: str
    kind: str
    """`rule`, `velocity` or `inactivity`."""
    before: float
    after: float
    score: float
    """The whole score from then on."""
    id: str | None = None
    label: str | None = None
    place: int | None = None
    """Of inactivity in several tiers: the tier's place in the grid, from 1."""


_STEPPING: Final = ("rule", "velocity", "inactivity")
_MOST_INSTANTS: Final = 400
_JUMP: Final = 0.01
"""A part that loses a larger share within a millisecond does not decay there, but steps: a half-life takes 1 s at least."""


def steps(scorer: CompiledGrid, state: LeadState, at_ms: int, labels: Mapping[str, str] = NO_LABELS) -> list[Step]:
    """Return the first ten steps that time alone brings to a part of the score within 90 days of *at_ms*.

    A rule's sum expires, an occurrence leaves its window, days leave a velocity's, or a tier of inactivity begins. Each is at
    its exact instant. What decays smoothly has none.
    """
    found: list[Step] = []
    end_ms = at_ms + AHEAD_MS
    for _ in range(_MOST_INSTANTS):
        next_ms = read(scorer, state, at_ms).step_ms
        if next_ms > end_ms or len(found) >= MOST_AHEAD:
            break
        at_ms = int(next_ms)
        score = read(scorer, state, at_ms).score
        before, after = _stepping(scorer, state, at_ms - 1), _stepping(scorer, state, at_ms)
        for part in {**before, **after}:
            was, becomes = before.get(part, 0.0), after.get(part, 0.0)
            if abs(becomes - was) > 1e-6 + _JUMP * abs(was):
                kind, id_, place = part
                found.append(Step(rfc3339(at_ms), kind, was, becomes, score, id_, labels.get(id_ or ""), place))
    return found[:MOST_AHEAD]


def _stepping(scorer: CompiledGrid, state: LeadState, at_ms: int) -> dict[tuple[str, str | None, int | None], float]:
    found = reasons(scorer, state, at_ms)
    return {(one.kind, one.id, one.place): one.points for one in found if one.kind in _STEPPING}
