"""A slow, obvious LeadPulse, written from the contract alone, to hold the real core against.

It keeps every accepted event of every lead and recounts everything from them at each instant it is asked about. It has no
decayed sums, no schedule and no packed state. It shares nothing with `worker.core` but event types and mail word lists.

How it finds the instants at which time alone moves a lead (`Oracle._first_move`):

1. It lists every instant in the span at which the score may *jump*. Velocity jumps at local midnights, inactivity at its
   steps, a rule at `expires_after`. The ladder opens or closes at the ends of `intent_within` and of `quiet`. Between two
   neighbours of that list the score is a clamp of a sum of smooth parts. Each part only falls or only rises.
2. On a stretch without jumps, each part's values at the two ends bound it. The sums of the lesser and of the greater ends
   bound the score. If the ladder could not move anywhere between those bounds, the stretch is done. Otherwise it is halved,
   the earlier half first, down to a single millisecond, where the ladder is asked itself. This finds the *first*
   millisecond, however often the score crosses the threshold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.kit.oracle_counting import Happened
from tests.kit.oracle_ladder import phase_after, phases_of, respond_by
from tests.kit.oracle_score import ACTIVITY, ANSWERS, Lead, Scores
from tests.kit.oracle_values import (
    ALLOWANCE,
    MISSING,
    as_list,
    borders,
    duration,
    in_data,
    instant,
    rfc3339,
    unescaped,
)
from worker.core.contract.event_types import KNOWN_TYPES

REMEMBERED_IDS = 64
OWN_TYPE = re.compile(r"custom[.][a-z0-9_.]{1,64}")


class Oracle(Scores):
    """LeadPulse over a list of events and ticks, in their order; *grid* is the parsed YAML, *source* the outputs' source."""

    def __init__(self, grid: Mapping[str, Any], source: str) -> None:
        super().__init__(grid)
        self.source = source
        self.stages: Mapping[str, Any] = grid.get("stages") or {}
        self.quiet = duration(self.stages.get("quiet")) or 0
        self.ladder = ["contact", *(rung for rung in ("mql", "sql") if rung in self.stages)]
        self.phases = phases_of(grid)
        self.leads: dict[str, Lead] = {}
        self.erased: dict[str, tuple[int, int]] = {}
        """Lead → the instant up to which it is erased, and the last sequence number it used."""
        self.last_tick: int | None = None
        self.outputs: list[dict[str, Any]] = []

    # --- Input ---------------------------------------------------------------------------------------------------------

    def event(self, cloudevent: Mapping[str, Any]) -> None:
        """Take one CloudEvent (valid; of any type)."""
        if cloudevent["type"] not in KNOWN_TYPES and not OWN_TYPE.fullmatch(cloudevent["type"]):
            return
        data = dict(cloudevent.get("data") or {})
        happened = Happened(
            at=instant(cloudevent["time"]),
            type=cloudevent["type"],
            id=cloudevent["id"],
            source=cloudevent["source"],
            data=data,
            machine=data.get("machine") is True,
        )
        if happened.type == "page.viewed" and in_data(data, "page_type") is MISSING:
            data["page_type"] = self._page_type(data.get("url"))
        self._take(cloudevent["subject"], happened)

    def tick(self, ms: int) -> None:
        """Let time pass up to *ms*, inclusive, for every lead."""
        self.last_tick = ms if self.last_tick is None else max(ms, self.last_tick)
        for lead in sorted(self.leads.values(), key=lambda x: x.id):
            self._pass_time(lead, self.last_tick)

    def finish(self, at_ms: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Tick at *at_ms* and return the leads, sorted by id, and every output since the start."""
        self.tick(at_ms)
        return [self._row(self.leads[name]) for name in sorted(self.leads)], self.outputs

    def _page_type(self, url: Any) -> str | None:
        if not isinstance(url, str):
            return None
        parts = urlsplit(url)
        path = parts.path
        if self.grid.get("hash_routes") and "/" in parts.fragment:
            path = "/" + parts.fragment.partition("/")[2].partition("?")[0]
        path = unescaped(path)
        for page_type, patterns in (self.grid.get("pages") or {}).items():
            for pattern in as_list(patterns):
                if re.fullmatch(".*".join(re.escape(unescaped(piece)) for piece in pattern.split("*")), path, re.DOTALL):
                    return str(page_type)
        return None

    def _take(self, name: str, happened: Happened) -> None:
        erased_to, sequence = self.erased.get(name, (None, 0))
        if erased_to is not None and happened.at <= erased_to:
            return
        lead = self.leads.get(name)
        if lead is None:
            lead = Lead(name, happened.at if self.last_tick is None else max(happened.at, self.last_tick), sequence)
            self.leads[name] = lead
        elif (happened.source, happened.id) in [(e.source, e.id) for e in lead.taken[-REMEMBERED_IDS:]]:
            return
        elif happened.at > lead.clock:
            self._pass_time(lead, happened.at - 1)
            lead.clock = happened.at
        if happened.type == "lead.erased":
            lead.sequence += 1
            self._publish(lead, "lead.erased", {"lead_id": lead.id})
            self.erased[name] = (happened.at, lead.sequence)
            del self.leads[name]
            self._facts_of.pop(name, None)
            return
        lead.taken.append(happened)
        self._judge(lead, happened)

    # --- Stages ---------------------------------------------------------------------------------------------------------

    def _enough(self, name: str, fit: float, engagement: float) -> bool:
        """Tell whether fit and engagement are enough for a rung."""
        rung = self.stages[name]
        return all(
            rung.get(least) is None or value >= rung[least] - ALLOWANCE
            for least, value in (("min_fit", fit), ("min_engagement", engagement))
        )

    def _open(self, lead: Lead, t: int) -> bool:
        """Tell whether the ladder is open: no rejection, or `quiet` has passed since and the lead has been active since."""
        if lead.closed_at is None:
            return True
        activity = self._facts(lead).activity
        return t - lead.closed_at >= self.quiet and activity is not None and activity > lead.closed_at

    def _may_climb(self, lead: Lead, t: int, score: float, fit: float, engagement: float) -> bool:
        at = self.ladder.index(lead.stage)
        if at + 1 == len(self.ladder) or not self._open(lead, t):
            return False
        name = self.ladder[at + 1]
        intent_within = duration(self.stages[name].get("intent_within"))
        if intent_within is not None:
            intent = self._facts(lead).intent
            if intent is None or t - intent >= intent_within:
                return False
        return bool(score >= self.stages[name]["enter"] - ALLOWANCE) and self._enough(name, fit, engagement)

    def _must_descend(self, lead: Lead, score: float, fit: float, engagement: float) -> bool:
        if lead.stage == "contact":
            return False
        rung = self.stages[lead.stage]
        leave = min(rung.get("leave", rung["enter"]), rung["enter"])
        return score < leave - ALLOWANCE or not self._enough(lead.stage, fit, engagement)

    def _phase(self, lead: Lead, score: float) -> str | None:
        """Return the phase that the lead should be in; it stands still above the ladder, and while the lead is excluded."""
        return phase_after(self.phases, lead.phase, score) if lead.stage in ("contact", "mql", "sql") else lead.phase

    def _judge(self, lead: Lead, cause: Happened | None = None) -> None:
        """Judge the lead at its clock: own stage, exclusion, ladder, phase, SLA."""
        heard = self._own_stage(lead, cause)
        if lead.stage not in ("opportunity", "client"):
            excluded = self._facts(lead).excluded
            if excluded and lead.stage != "excluded":
                self._move(lead, "excluded", "lead.excluded")
            elif not excluded and lead.stage == "excluded":
                self._move(lead, "contact", "lead.stage")
        self._climb_or_descend(lead)
        self._explore(lead, cause)
        phase = self._phase(lead, self._score(lead, lead.clock).score)
        if phase != lead.phase:
            self._change_phase(lead, phase)
        if lead.respond is not None:
            asked, by = lead.respond
            if heard is not None and asked <= heard <= by:
                lead.respond = None
            elif lead.clock >= by:
                lead.respond = None
                self._move(lead, lead.stage, "lead.sla_breached")

    def _own_stage(self, lead: Lead, cause: Happened | None) -> int | None:
        """Let a `crm.*` event set its stage; return its time when it may answer a pending `lead.sql`."""
        if cause is None or not cause.type.startswith("crm."):
            return None
        if lead.last_crm is not None and cause.at < lead.last_crm:
            return None
        lead.last_crm = cause.at
        if cause.type in ("crm.rejected", "crm.lost"):
            lead.closed_at = cause.at
            if lead.stage in ("mql", "sql", "opportunity", "client"):
                self._move(lead, "contact", "lead.stage")
        else:
            target = {"crm.opportunity": "opportunity", "crm.won": "client"}.get(cause.type, lead.stage)
            if target != lead.stage:
                self._move(lead, target, "lead.stage")
        return cause.at if cause.type in ANSWERS else None

    def _climb_or_descend(self, lead: Lead) -> None:
        """Move up as far as it goes, or else down as far as it goes."""
        if lead.stage not in self.ladder:
            return
        now = self._score(lead, lead.clock)
        moved = False
        while self._may_climb(lead, lead.clock, now.score, now.fit, now.engagement):
            moved = True
            self._climb(lead)
        while not moved and self._must_descend(lead, now.score, now.fit, now.engagement):
            self._move(lead, self.ladder[self.ladder.index(lead.stage) - 1], "lead.cooled")

    def _climb(self, lead: Lead) -> None:
        rung = self.ladder[self.ladder.index(lead.stage) + 1]
        name = f"lead.{rung}"
        if name in lead.published and lead.clock - lead.published[name] < self.quiet:
            self._move(lead, rung, "lead.stage")
            return
        lead.published[name] = lead.clock
        by = respond_by(self.stages[rung].get("sla"), self.zone, lead.clock) if rung == "sql" else None
        if by is not None:
            lead.respond = (lead.clock, by)
        self._move(lead, rung, name, respond_by=by)

    def _explore(self, lead: Lead, cause: Happened | None) -> None:
        """Hand over a chosen lead below SQL that acts: once, and never one that sales had or refused."""
        explore = self.grid.get("explore")
        if explore is None or cause is None or cause.machine or not ACTIVITY.fullmatch(cause.type):
            return
        digest = hashlib.sha256(f"explore:{lead.id}".encode()).hexdigest()
        if int(digest[:16], 16) / 2**64 >= explore["share"] or lead.last_crm is not None or "lead.sql" in lead.published:
            return
        if lead.stage in ("contact", "mql") and self._score(lead, lead.clock).score >= explore["from"] - ALLOWANCE:
            lead.published["lead.sql"] = lead.clock
            by = respond_by(self.stages["sql"].get("sla"), self.zone, lead.clock)
            lead.respond = None if by is None else (lead.clock, by)
            self._move(lead, lead.stage, "lead.sql", respond_by=by, explored=True)

    # --- Time -----------------------------------------------------------------------------------------------------------

    def _pass_time(self, lead: Lead, to: int) -> None:
        """Move the lead's clock to *to*, stopping at every instant at which time alone changes where it stands."""
        while lead.clock < to:
            until = to
            if lead.respond is not None and lead.respond[1] <= to:
                # Never in the past: an SLA is judged whenever the clock comes by.
                until = max(lead.respond[1], lead.clock + 1)
            first = self._first_move(lead, lead.clock + 1, until)
            lead.clock = until if first is None else first
            self._judge(lead)

    def _first_move(self, lead: Lead, start: int, end: int) -> int | None:
        """Return the first instant in [start, end] at which the ladder would move the lead, if nothing else happens."""
        if lead.stage not in self.ladder:
            return None
        jumps = sorted({start, *(j for j in self._jumps(lead, start, end) if start < j <= end)})
        for a, b in zip(jumps, [*(j - 1 for j in jumps[1:]), end], strict=True):
            found = self._first_in_stretch(lead, a, b)
            if found is not None:
                return found
        return None

    def _jumps(self, lead: Lead, start: int, end: int) -> Iterator[int]:
        facts = self._facts(lead)
        if facts.velocity:
            for utc_day in range(start // 86_400_000, end // 86_400_000 + 1):
                yield from borders(utc_day, self.zone)
        for counted in facts.counted:
            expires = duration(counted.rule.get("expires_after"))
            if expires is not None and counted.latest is not None:
                yield counted.latest + expires
            if counted.span is not None and counted.kind != "half_life":
                yield from (one.at + counted.span for one in counted.occurrences)
        for rung in self.ladder[1:]:
            within = duration(self.stages[rung].get("intent_within"))
            if within is not None and facts.intent is not None:
                yield facts.intent + within
        if lead.closed_at is not None:
            yield lead.closed_at + self.quiet
        for tier in self._tiers():
            yield from self._steps_of_inactivity(tier, facts.activity, end)

    def _steps_of_inactivity(self, tier: Mapping[str, Any], activity: int | None, end: int) -> Iterator[int]:
        if activity is None:
            return
        every, step = duration(tier.get("every")), activity + (duration(tier["after"]) or 0)
        while step <= end:
            yield step
            if every is None or (tier.get("min") is not None and self._inactivity(tier, activity, step) <= tier["min"]):
                return
            step += every

    def _first_in_stretch(self, lead: Lead, a: int, b: int) -> int | None:
        fit = self._fit(self._facts(lead))
        low, high = self._bounds(lead, a, b)
        # What else climbing asks for (intent, an open ladder) is the same in the whole stretch.
        if not (
            self._may_climb(lead, a, high[0], fit, high[1])
            or self._must_descend(lead, low[0], fit, low[1])
            or {self._phase(lead, low[0]), self._phase(lead, high[0])} != {lead.phase}
        ):
            return None
        if a == b:
            return a if self._would_move(lead, a) else None
        middle = (a + b) // 2
        earlier = self._first_in_stretch(lead, a, middle)
        return earlier if earlier is not None else self._first_in_stretch(lead, middle + 1, b)

    def _would_move(self, lead: Lead, t: int) -> bool:
        """Tell whether the lead changes its stage or its phase at *t*, if nothing else happens."""
        now = self._score(lead, t)
        return lead.stage in self.ladder and (
            self._may_climb(lead, t, now.score, now.fit, now.engagement)
            or self._must_descend(lead, now.score, now.fit, now.engagement)
            or self._phase(lead, now.score) != lead.phase
        )

    # --- Output ---------------------------------------------------------------------------------------------------------

    def _change_phase(self, lead: Lead, phase: str | None) -> None:
        before, lead.phase = lead.phase, phase
        self._tell(lead, "lead.phase", {"from": before, "to": phase, "stage": lead.stage})

    def _move(self, lead: Lead, to: str, name: str, respond_by: int | None = None, *, explored: bool = False) -> None:
        stage, lead.stage = lead.stage, to
        more: dict[str, Any] = {} if respond_by is None else {"respond_by": rfc3339(respond_by)}
        more |= {"explored": True} if explored else {}
        self._tell(lead, name, {"from": stage, "to": to, **more})

    def _tell(self, lead: Lead, name: str, move: dict[str, Any]) -> None:
        lead.sequence += 1
        now = self._score(lead, lead.clock)
        data: dict[str, Any] = {
            "lead_id": lead.id,
            **move,
            "score": now.score,
            "fit": now.fit,
            "engagement": now.engagement,
            "grade": self._grade(now),
            "reasons": now.reasons,
            **self._prediction(lead, lead.stage),
        }
        if self.phases:
            data["phase"] = lead.phase
        self._publish(lead, name, data)

    def _publish(self, lead: Lead, name: str, data: dict[str, Any]) -> None:
        self.outputs.append(
            {
                "specversion": "1.0",
                "type": name,
                "source": self.source,
                "id": f"{lead.id}:{lead.sequence}",
                "subject": lead.id,
                "time": rfc3339(lead.clock),
                "sequence": str(lead.sequence),
                "data": data,
            }
        )

    def _row(self, lead: Lead) -> dict[str, Any]:
        now = self._score(lead, lead.clock)
        return {
            "lead_id": lead.id,
            "score": now.score,
            "fit": now.fit,
            "engagement": now.engagement,
            "grade": self._grade(now),
            "stage": lead.stage,
            "sequence": lead.sequence,
            "as_of": rfc3339(lead.clock),
            "reasons": now.reasons,
            **({"phase": lead.phase} if self.phases else {}),
            **self._prediction(lead, lead.stage),
        }
