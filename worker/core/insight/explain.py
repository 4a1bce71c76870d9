"""Why a lead stands where it stands, and what time alone will do to it."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from worker.core.contract.model import Reason
from worker.core.scoring.calendar import DAY_MS, rfc3339
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.parts import earned_points
from worker.core.scoring.phases import phase_name
from worker.core.scoring.reading import Reading
from worker.core.scoring.score import in_grid_order, reasons
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


def waterfall(scorer: CompiledGrid, state: LeadState, at_ms: int) -> list[Part]:
    """Return where every point of the score at *at_ms* came from and what became of it, in the order of `reasons`."""
    fit, rules, rest = [], {}, []
    of_fit = [("clamp", "fit"), *(("group", group.name) for group in scorer.fit_groups)]
    for reason in reasons(scorer, state, at_ms):
        if reason.kind == "rule":
            rules[reason.id] = reason
        elif reason.kind == "fit" or (reason.kind, reason.id) in of_fit:
            fit.append(_plain(reason))
        else:
            rest.append(_plain(reason))
    counted = [
        _counted(rule.id, earned_points(rule, count, at_ms), count, rules.get(rule.id))
        for rule, count in in_grid_order(scorer, state)
        if rule.points and count.n
    ]
    return [*fit, *counted, *rest]


def _plain(reason: Reason) -> Part:
    points = reason.points
    match reason.kind:
        case "clamp" | "group":
            return Part(reason.kind, 0.0, 0.0, points, points, reason.id)
        case "inactivity":
            return Part("inactivity", 0.0, points, 0.0, points, place=reason.place)
        case _:
            return Part(reason.kind, points, 0.0, 0.0, points, reason.id, reason.count, row=reason.row)


def _counted(id_: str, earned: float, count: Count, reason: Reason | None) -> Part:
    """Return a rule's line; without a *reason* nothing is left of it."""
    last_at = rfc3339(count.last_ms)
    if reason is None or reason.raw is None:
        return Part("rule", earned, -earned, 0.0, 0.0, id_, count.n, last_at, expired=True)
    return Part("rule", earned, reason.raw - earned, reason.points - reason.raw, reason.points, id_, count.n, last_at)


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
