"""What a lead's events say, and its score at an instant: recounted each time from everything that the lead did."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.kit.oracle_bounds import bounds
from tests.kit.oracle_counting import Counted, Happened, capped, count, customs, matches, names, raw, velocity
from tests.kit.oracle_prediction import Shown, prediction
from tests.kit.oracle_values import (
    ALLOWANCE,
    as_list,
    clamp,
    condition,
    duration,
    in_traits,
    is_there,
    leaves,
    normal,
    rfc3339,
)
from worker.core.grid.email_kind import email_domain, email_kind

ACTIVITY = re.compile(
    r"(page|form|content|demo|trial|quote|social|custom)[.].*|email[.](opened|clicked|replied|subscribed)"
    r"|webinar[.](registered|attended|replayed)"
)
ANSWERS = frozenset({"crm.accepted", "crm.rejected", "crm.opportunity", "crm.won", "crm.lost"})


class Fit(NamedTuple):
    """What a fit rule that holds gives."""

    rule: Mapping[str, Any]
    points: float
    row: str | None
    """Of a table: the row that the trait meets."""


@dataclass
class Facts:
    """Everything that a lead's events say, whatever the instant. Made anew after every event."""

    traits: dict[str, Any]
    fit: list[Fit]
    counted: list[Counted]
    velocity: list[tuple[Mapping[str, Any], list[Happened]]]
    activity: int | None
    intent: int | None
    excluded: bool


@dataclass
class Score:
    """A score with its reasons."""

    score: float
    fit: float
    engagement: float
    reasons: list[dict[str, Any]]


@dataclass
class Lead:
    """A lead: what it did, and where it stands."""

    id: str
    clock: int
    sequence: int = 0
    stage: str = "contact"
    taken: list[Happened] = field(default_factory=list)
    published: dict[str, int] = field(default_factory=dict)
    """Output name → when the last one of that name was published."""
    last_crm: int | None = None
    closed_at: int | None = None
    """Time of the rejection that closed the ladder."""
    phase: str | None = None
    respond: tuple[int, int] | None = None
    """The pending `lead.sql`: its instant, and by when sales must answer."""


class Scores:
    """Facts and scores of leads by the grid *grid*, the parsed YAML."""

    def __init__(self, grid: Mapping[str, Any]) -> None:
        self.grid = grid
        self.zone: str = grid.get("timezone", "UTC")
        self.engagement: Mapping[str, Any] = grid.get("engagement") or {}
        self.fit: Mapping[str, Any] = grid.get("fit") or {}
        self._facts_of: dict[str, tuple[int, Facts]] = {}

    # --- What the events say -------------------------------------------------------------------------------------------

    def _facts(self, lead: Lead) -> Facts:
        known = self._facts_of.get(lead.id)
        if known is None or known[0] != len(lead.taken):
            known = (len(lead.taken), self._recount(lead))
            self._facts_of[lead.id] = known
        return known[1]

    def _recount(self, lead: Lead) -> Facts:
        traits = self._traits(lead)
        human = [e for e in lead.taken if not e.machine]
        counted = [count(rule, self.engagement, human, self.zone) for rule in self.engagement.get("rules") or []]
        return Facts(
            traits=traits,
            fit=[self._points(rule, traits) for rule in self.fit.get("rules") or [] if self._fits(rule, traits)],
            counted=counted,
            velocity=[(v, [e for e in human if matches(v, e)]) for v in self.grid.get("velocity") or []],
            activity=max((e.at for e in human if ACTIVITY.fullmatch(e.type)), default=None),
            intent=max((c.latest for c in counted if c.rule.get("intent") and c.latest is not None), default=None),
            excluded=any(self._excludes(rule, human, traits) for rule in self.grid.get("exclusions") or []),
        )

    def _excludes(self, rule: Mapping[str, Any], human: list[Happened], traits: dict[str, Any]) -> bool:
        if "on" not in rule:
            return self._fits(rule, traits)
        latest = max((e.at for e in human if matches(rule, e)), default=None)
        return latest is not None and not any(names(rule.get("until", []), e.type) and e.at > latest for e in human)

    @staticmethod
    def _points(rule: Mapping[str, Any], traits: Mapping[str, Any]) -> Fit:
        """Return what a fit rule gives, by its table if it has one."""
        table = rule["points"]
        if not isinstance(table, Mapping):
            return Fit(rule, table, None)
        path = table["table"]
        held = in_traits(traits, path)
        if not is_there(held):
            return Fit(rule, 0.0, None)
        rows = [(key, points) for key, points in table.get("values", {}).items() if condition(normal(path, key), held)]
        bands = [(floor, points) for floor, points in table.get("bands", []) if condition({"gte": normal(path, floor)}, held)]
        name, points = (rows[:1] or bands[-1:] or [("else", table.get("else", 0.0))])[0]
        return Fit(rule, points, str(name))

    def _traits(self, lead: Lead) -> dict[str, Any]:
        """The last writer wins, path by path; a path stands against those above and below it too."""
        said = [
            ((e.at, e.id), path, value)
            for e in lead.taken
            if e.type == "profile.updated"
            for path, value in leaves(e.data.get("traits") or {})
        ]
        traits = {
            path: normal(path, value)
            for stamp, path, value in said
            if is_there(value)
            and not any(
                newer > stamp and (other == path or other.startswith(path + ".") or path.startswith(other + "."))
                for newer, other, _ in said
            )
        }
        if "email" in traits:
            email = traits["email"] if isinstance(traits["email"], str) else ""  # what is no text is no address
            derived = {"email_domain": email_domain(email), "email_kind": email_kind(email)}
            traits = {name: value for name, value in {**traits, **derived}.items() if value is not None}
        return traits

    @staticmethod
    def _fits(rule: Mapping[str, Any], traits: Mapping[str, Any]) -> bool:
        where = (rule.get("where") or {}).items()
        return all(condition(normal(path, wanted), in_traits(traits, path)) for path, wanted in where)

    # --- The score at an instant ----------------------------------------------------------------------------------------

    def _groups(self, parts: list[tuple[Mapping[str, Any], float]]) -> list[dict[str, Any]]:
        """Return the reasons that make up what rules in groups, each with its points, are worth together."""
        reasons = []
        for name, group in (self.grid.get("groups") or {}).items():
            of_group = [points for rule, points in parts if rule.get("group") == name]
            if group.get("best"):
                greatest = max(map(abs, of_group), default=0.0)
                worth = next((points for points in of_group if abs(points) >= greatest - ALLOWANCE), 0.0)
            else:
                worth = clamp(sum(of_group), {"min": -group["cap"], "max": group["cap"]})
            reasons.append({"kind": "group", "id": name, "points": worth - sum(of_group)})
        return reasons

    def _tiers(self) -> list[Mapping[str, Any]]:
        return as_list(self.grid.get("inactivity") or [])

    @staticmethod
    def _inactivity(tier: Mapping[str, Any], activity: int | None, t: int) -> float:
        """Formula 5, of one tier."""
        after, every = duration(tier["after"]) or 0, duration(tier.get("every"))
        if activity is None or t < activity + after:
            return 0.0
        more = 0 if every is None else (t - activity - after) // every
        return clamp(tier["points"] * (1 + more), {"min": tier.get("min")})

    def _fit_reasons(self, facts: Facts) -> list[dict[str, Any]]:
        """Return the reasons of the fit before its clamp."""
        reasons = [
            {"kind": "fit", "id": one.rule["id"], "points": one.points, **({} if one.row is None else {"row": one.row})}
            for one in facts.fit
        ]
        return reasons + self._groups([(one.rule, one.points) for one in facts.fit])

    def _fit(self, facts: Facts) -> float:
        return clamp(sum(reason["points"] for reason in self._fit_reasons(facts)), self.fit)

    def _engagement_reasons(self, facts: Facts, t: int) -> list[dict[str, Any]]:
        """Return the reasons of the engagement before its clamp."""
        reasons: list[dict[str, Any]] = []
        parts: list[tuple[Mapping[str, Any], float]] = []
        for counted in facts.counted:
            rule = counted.rule
            raw_points, number = raw(counted, t)
            points = capped(counted, raw_points)
            parts.append((rule, points))
            last_at = None if counted.latest is None else rfc3339(counted.latest)
            reason = {"kind": "rule", "id": rule["id"], "points": points, "raw": raw_points, "count": number}
            reasons.append(reason | {"last_at": last_at, **customs(rule["on"])})
        reasons += self._groups(parts)
        for rule, matching in facts.velocity:
            points, number = velocity(rule, matching, t, self.zone)
            reasons.append({"kind": "velocity", "id": rule["id"], "points": points, "count": number, **customs(rule["on"])})
        tiers = self._tiers()
        for place, tier in enumerate(tiers, start=1):
            points = self._inactivity(tier, facts.activity, t)
            reasons.append({"kind": "inactivity", "points": points, **({"place": place} if len(tiers) > 1 else {})})
        return reasons

    def _score(self, lead: Lead, t: int) -> Score:
        """Formula 6, with what it is made of."""
        facts = self._facts(lead)
        reasons = self._fit_reasons(facts)
        fit_sum = sum(reason["points"] for reason in reasons)
        fit = clamp(fit_sum, self.fit)
        doing = self._engagement_reasons(facts, t)
        engagement_sum = sum(reason["points"] for reason in doing)
        engagement = clamp(engagement_sum, self.engagement)
        score = clamp(fit + engagement, self.grid.get("score") or {})
        clamps = {"fit": fit - fit_sum, "engagement": engagement - engagement_sum, "score": score - (fit + engagement)}
        reasons += doing + [{"kind": "clamp", "id": name, "points": points} for name, points in clamps.items()]
        return Score(score, fit, engagement, [r for r in reasons if r["points"] != 0])

    def _prediction(self, lead: Lead, stage: str) -> dict[str, Any]:
        """Return the member `prediction` of what is said of the lead; empty without a model."""
        facts = self._facts(lead)
        shown = Shown([(one.rule["id"], one.row) for one in facts.fit], facts.counted, facts.velocity, facts.activity)
        found = prediction(self.grid, shown, lead.clock, stage)
        return {} if found is None else {"prediction": found}

    def _bounds(self, lead: Lead, a: int, b: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """The least and the greatest that (score, engagement) can be in [a, b], where nothing jumps.

        A little is added on either side, for the sums here are added up in another order than the score's.
        """
        facts = self._facts(lead)
        low, high, size = bounds(self.grid, facts.counted, a, b)
        steady = sum(velocity(rule, matching, a, self.zone)[0] for rule, matching in facts.velocity)
        steady += sum(self._inactivity(tier, facts.activity, a) for tier in self._tiers())
        fit = self._fit(facts)
        slack = 1e-12 * (1 + abs(steady) + size)
        lowest, highest = (
            (clamp(fit + engagement, self.grid.get("score") or {}) + give, engagement + give)
            for engagement, give in (
                (clamp(steady + end + give, self.engagement), give) for end, give in ((low, -slack), (high, slack))
            )
        )
        return lowest, highest

    def _grade(self, score: Score) -> str | None:
        grades = self.grid.get("grades")
        if not grades:
            return None
        return self._band(grades.get("fit"), score.fit) + self._band(grades.get("engagement"), score.engagement)

    @staticmethod
    def _band(bands: Mapping[Any, float] | None, value: float) -> str:
        if not bands:
            return ""
        reached = [name for name, floor in bands.items() if value >= floor - ALLOWANCE]
        return str(reached[0] if reached else min(bands, key=lambda name: bands[name]))
