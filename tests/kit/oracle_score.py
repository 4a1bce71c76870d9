"""What a lead's events say, and its score at an instant: recounted each time from everything that the lead did."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kit.oracle_values import (
    ALLOWANCE,
    MISSING,
    as_list,
    as_text,
    clamp,
    condition,
    day,
    days_of,
    duration,
    in_data,
    in_traits,
    is_there,
    leaves,
    normal,
    rfc3339,
)
from worker.core.grid.email_kind import email_domain, email_kind

REMEMBERED_VALUES = 64
SESSIONS_A_DAY = 16

ACTIVITY = re.compile(
    r"(page|form|content|demo|trial|quote|social)\..*|email\.(opened|clicked|replied)|webinar\.(registered|attended|replayed)"
)
ANSWERS = frozenset({"crm.accepted", "crm.rejected", "crm.opportunity", "crm.won", "crm.lost"})


@dataclass
class Happened:
    """An accepted event."""

    at: int
    type: str
    id: str
    source: str
    data: dict[str, Any]
    machine: bool


@dataclass
class Counted:
    """What a rule `on` events has counted: the occurrences that stand in its sum, and its latest matching event."""

    rule: Mapping[str, Any]
    half_life: int | None
    occurrences: list[int]
    latest: int | None


@dataclass
class Facts:
    """Everything that a lead's events say, whatever the instant. Made anew after every event."""

    traits: dict[str, Any]
    fit: list[tuple[str, float]]
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
        counted = [self._count(rule, human) for rule in self.engagement.get("rules") or []]
        return Facts(
            traits=traits,
            fit=[(r["id"], r["points"]) for r in self.fit.get("rules") or [] if self._fits(r, traits)],
            counted=counted,
            velocity=[(v, [e for e in human if self._matches(v, e)]) for v in self.grid.get("velocity") or []],
            activity=max((e.at for e in human if ACTIVITY.fullmatch(e.type)), default=None),
            intent=max((c.latest for c in counted if c.rule.get("intent") and c.latest is not None), default=None),
            excluded=any(self._excludes(rule, human, traits) for rule in self.grid.get("exclusions") or []),
        )

    def _excludes(self, rule: Mapping[str, Any], human: list[Happened], traits: dict[str, Any]) -> bool:
        return any(self._matches(rule, e) for e in human) if "on" in rule else self._fits(rule, traits)

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

    @staticmethod
    def _matches(rule: Mapping[str, Any], event: Happened) -> bool:
        return event.type in as_list(rule["on"]) and all(
            condition(wanted, in_data(event.data, path)) for path, wanted in (rule.get("where") or {}).items()
        )

    def _count(self, rule: Mapping[str, Any], human: list[Happened]) -> Counted:
        """`once_per`: of each value the earliest; of the values, the 64 with the latest occurrences are remembered."""
        matching = [e for e in human if self._matches(rule, e)]
        standing: list[int] = []
        remembered: dict[str, int] = {}
        for event in matching:
            value = self._once(rule.get("once_per", "event"), event)
            if value is None:
                standing.append(event.at)
            elif value in remembered:
                remembered[value] = min(remembered[value], event.at)
            else:
                remembered[value] = event.at
                if len(remembered) > REMEMBERED_VALUES:
                    forgotten = min(remembered, key=lambda v: (remembered[v], v))
                    standing.append(remembered.pop(forgotten))
        return Counted(
            rule=rule,
            half_life=duration(rule["half_life"] if "half_life" in rule else self.engagement.get("half_life")),
            occurrences=standing + list(remembered.values()),
            latest=max((e.at for e in matching), default=None),
        )

    def _once(self, per: str, event: Happened) -> str | None:
        """The value that counts once; `None` for an event that is one of its own."""
        if per == "event":
            return None
        if per == "day":
            return str(day(event.at, self.zone))
        if per == "lead":
            return ""
        value = in_data(event.data, per)
        return None if value is MISSING else as_text(value)

    # --- The score at an instant ----------------------------------------------------------------------------------------

    def _raw(self, counted: Counted, t: int) -> tuple[float, int]:
        """Formula 1: the raw points of a rule at *t*, and how many occurrences they are of."""
        rule, half_life = counted.rule, counted.half_life
        expires = duration(rule.get("expires_after"))
        if expires is not None and counted.latest is not None and t - counted.latest >= expires:
            return 0.0, 0
        ages = [t - at for at in counted.occurrences if at <= t]
        return rule["points"] * sum(2.0 ** (-age / half_life) if half_life else 1.0 for age in ages), len(ages)

    def _velocity(self, rule: Mapping[str, Any], matching: list[Happened], t: int) -> tuple[float, int]:
        """Formula 4: the points of the highest step reached at *t*, and the count that reached it."""
        today, n = day(t, self.zone), days_of(rule["within"])
        matching = [e for e in matching if e.at <= t]
        dates = [day(e.at, self.zone) for e in matching]
        count = self._counted(rule["count"], n, dates, matching, today)
        reached = [step for step in rule["steps"] if count >= step]
        return (rule["steps"][max(reached)] if reached else 0.0), count

    @staticmethod
    def _counted(how: str, n: int, dates: list[int], matching: list[Happened], today: int) -> int:
        """Return the count of *matching* events, of the days *dates*, in the *n* days that end *today*."""
        if how == "events":
            return sum(today - n < d <= today for d in dates)
        if how == "days":
            return len({d for d in dates if today - n < d <= today})
        if how == "sessions":
            seen = {
                (d, as_text(in_data(e.data, "session_id")))
                for d, e in zip(dates, matching, strict=True)
                if today - n < d <= today and in_data(e.data, "session_id") is not MISSING
            }
            return sum(min(SESSIONS_A_DAY, sum(d == which for d, _ in seen)) for which in {d for d, _ in seen})
        last = max(dates, default=None)
        if last is None or not today - n < last <= today:
            return 0
        return len({d for d in dates if last - n < d <= last}) - len({d for d in dates if last - 2 * n < d <= last - n})

    def _inactivity(self, activity: int | None, t: int) -> float:
        """Formula 5."""
        rule = self.grid.get("inactivity")
        if not rule or activity is None:
            return 0.0
        after, every = duration(rule["after"]) or 0, duration(rule.get("every"))
        if t < activity + after:
            return 0.0
        more = 0 if every is None else (t - activity - after) // every
        return clamp(rule["points"] * (1 + more), {"min": rule.get("min")})

    def _score(self, lead: Lead, t: int) -> Score:
        """Formula 6, with what it is made of."""
        facts = self._facts(lead)
        reasons: list[dict[str, Any]] = [{"kind": "fit", "id": name, "points": points} for name, points in facts.fit]
        fit_sum = sum(points for _, points in facts.fit)
        fit = clamp(fit_sum, self.fit)
        reasons.append({"kind": "clamp", "id": "fit", "points": fit - fit_sum})
        engagement_sum = 0.0
        for counted in facts.counted:
            raw, count = self._raw(counted, t)
            points = self._capped(counted, raw)
            engagement_sum += points
            last_at = None if counted.latest is None else rfc3339(counted.latest)
            rule_id = counted.rule["id"]
            reasons.append({"kind": "rule", "id": rule_id, "points": points, "raw": raw, "count": count, "last_at": last_at})
        for rule, matching in facts.velocity:
            points, count = self._velocity(rule, matching, t)
            engagement_sum += points
            reasons.append({"kind": "velocity", "id": rule["id"], "points": points, "count": count})
        inactivity = self._inactivity(facts.activity, t)
        engagement_sum += inactivity
        reasons.append({"kind": "inactivity", "points": inactivity})
        engagement = clamp(engagement_sum, self.engagement)
        reasons.append({"kind": "clamp", "id": "engagement", "points": engagement - engagement_sum})
        score = clamp(fit + engagement, self.grid.get("score") or {})
        reasons.append({"kind": "clamp", "id": "score", "points": score - (fit + engagement)})
        return Score(score, fit, engagement, [r for r in reasons if r["points"] != 0])

    @staticmethod
    def _capped(counted: Counted, raw: float) -> float:
        cap = counted.rule.get("cap")
        return raw if cap is None else clamp(raw, {"min": -cap, "max": cap})

    def _bounds(self, lead: Lead, a: int, b: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """The least and the greatest that (score, engagement) can be in [a, b], where nothing jumps.

        Rules without a cap that share a half-life are one part, since their sum too only falls or only rises. A little is
        added on either side, for the sums here are added up in another order than the score's.
        """
        facts = self._facts(lead)
        parts: dict[Any, list[float]] = {}
        for counted in facts.counted:
            key = counted.half_life if counted.rule.get("cap") is None and "expires_after" not in counted.rule else id(counted)
            part = parts.setdefault(key, [0.0, 0.0])
            part[0] += self._capped(counted, self._raw(counted, a)[0])
            part[1] += self._capped(counted, self._raw(counted, b)[0])
        steady = sum(self._velocity(rule, matching, a)[0] for rule, matching in facts.velocity)
        steady += self._inactivity(facts.activity, a)
        fit = clamp(sum(points for _, points in facts.fit), self.fit)
        slack = 1e-12 * (1 + abs(steady) + sum(abs(x) for part in parts.values() for x in part))
        low, high = (
            (clamp(fit + engagement, self.grid.get("score") or {}) + give, engagement + give)
            for engagement, give in (
                (clamp(steady + sum(map(end, parts.values())) + give, self.engagement), give)
                for end, give in ((min, -slack), (max, slack))
            )
        )
        return low, high

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
