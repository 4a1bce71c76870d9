"""The funnel: how many leads came how far, and how long it took, by cohort, period and source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from statistics import fmean, quantiles
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from worker.learning.intervals import jeffreys
from worker.learning.journeys import UNKNOWN, Journey, Journeys

_DAY_MS: Final = 86_400_000
_MOST_ROWS: Final = 20
"""So many sources, campaigns and reasons are named. The others are one row."""
OTHERS: Final = "(others)"


class Step(msgspec.Struct, frozen=True):
    """Leads that reached a stage, whenever."""

    stage: str
    """`lead`, `mql`, `sql`, `accepted`, `opportunity` or `client`."""
    leads: int
    of_before: float | None
    """Share of the leads at the step before; `None` where there were none."""
    of_all: float | None


class Group(msgspec.Struct, frozen=True):
    """Leads with something in common: the month of their first event, a source, a campaign."""

    name: str
    leads: int
    mql: int
    sql: int
    opportunity: int
    client: int
    rate: float
    """Share that became a client."""
    low: float
    high: float
    """The likely range of that share (Jeffreys, 95 %)."""


class Period(msgspec.Struct, frozen=True):
    """What happened in one month, whenever the leads came."""

    month: str
    mql: int = 0
    sql: int = 0
    accepted: int = 0
    rejected: int = 0
    opportunity: int = 0
    won: int = 0
    lost: int = 0


class Duration(msgspec.Struct, frozen=True):
    """How long leads took from one stage to a later one, in days."""

    start: str
    end: str
    leads: int
    median: float
    low: float
    high: float
    """Lower and upper quartile."""


class Funnel(msgspec.Struct, frozen=True):
    """The figures of one history."""

    from_: str | None = msgspec.field(name="from")
    to: str | None
    """First and last instant that an event was seen."""
    steps: list[Step]
    cohorts: list[Group]
    periods: list[Period]
    durations: list[Duration]
    service: dict[str, int]
    """Of the handovers: `handed_over`, `promised`, `kept`, `late`, `never`."""
    mails: dict[str, int]
    score_of_clients_at_handover: float | None
    """Mean over clients of the score at their latest `lead.sql` before they were won; `None`: none of them had one."""
    clients_handed_over: int
    sources: list[Group]
    campaigns: list[Group]
    rejected: dict[str, int]
    lost: dict[str, int]


_STAGES: Final[Sequence[tuple[str, Callable[[Journey], int | None]]]] = (
    ("lead", lambda lead: lead.first_ms),
    ("mql", lambda lead: lead.mql_ms),
    ("sql", lambda lead: lead.sql_ms),
    ("accepted", lambda lead: lead.accepted_ms),
    ("opportunity", lambda lead: lead.opportunity_ms),
    ("client", lambda lead: lead.won_ms),
)
_SPANS: Final = (
    ("lead", "mql"), ("mql", "sql"), ("sql", "accepted"), ("sql", "opportunity"), ("opportunity", "client"), ("lead", "client"),
)  # fmt: skip


def funnel(found: Journeys, end_ms: int | None, timezone: str = "UTC") -> Funnel:
    """Return the funnel of *found*. Months are those of *timezone*; *end_ms*: the end of the history."""
    leads = list(found.leads.values())
    zone = ZoneInfo(timezone)
    at_call = [lead.score_at_call for lead in leads if lead.won_ms is not None and lead.score_at_call is not None]
    return Funnel(
        from_=_day(min((lead.first_ms for lead in leads), default=None), zone),
        to=_day(end_ms, zone),
        steps=_steps(leads),
        cohorts=[_group(name, held) for name, held in sorted(_by(leads, lambda lead: _month(lead.first_ms, zone)).items())],
        periods=_periods(found, zone),
        durations=[duration for start, end in _SPANS if (duration := _duration(leads, start, end)) is not None],
        service=msgspec.to_builtins(found.service),
        mails=msgspec.to_builtins(found.mails),
        score_of_clients_at_handover=fmean(at_call) if at_call else None,
        clients_handed_over=len(at_call),
        sources=_largest(_by(leads, lambda lead: lead.source)),
        campaigns=_largest(_by((lead for lead in leads if lead.campaign), lambda lead: lead.campaign or UNKNOWN)),
        rejected=_counted(found.rejected),
        lost=_counted(found.lost),
    )


def _steps(leads: Sequence[Journey]) -> list[Step]:
    steps: list[Step] = []
    before: int | None = None
    for place, (stage, _) in enumerate(_STAGES):
        # A lead that sales took without a call has been through the stages before, whether an output says it or not.
        reached = sum(any(at(lead) is not None for _, at in _STAGES[place:]) for lead in leads)
        steps.append(Step(stage, reached, _share(reached, before), _share(reached, len(leads))))
        before = reached
    return steps


def _share(part: int, whole: int | None) -> float | None:
    return part / whole if whole else None


def _group(name: str, leads: Sequence[Journey]) -> Group:
    won = sum(lead.won_ms is not None for lead in leads)
    low, high = jeffreys(won, len(leads))
    return Group(
        name,
        len(leads),
        sum(lead.mql_ms is not None for lead in leads),
        sum(lead.sql_ms is not None for lead in leads),
        sum(lead.opportunity_ms is not None for lead in leads),
        won,
        won / len(leads),
        low,
        high,
    )


def _by(leads: Iterable[Journey], key: Callable[[Journey], str]) -> dict[str, list[Journey]]:
    found: dict[str, list[Journey]] = {}
    for lead in leads:
        found.setdefault(key(lead), []).append(lead)
    return found


def _largest(groups: dict[str, list[Journey]]) -> list[Group]:
    names = sorted(groups, key=lambda name: (-len(groups[name]), name))
    found = [_group(name, groups[name]) for name in names[:_MOST_ROWS]]
    rest = [lead for name in names[_MOST_ROWS:] for lead in groups[name]]
    return [*found, _group(OTHERS, rest)] if rest else found


def _counted(reasons: Counter[str]) -> dict[str, int]:
    names = sorted(reasons, key=lambda name: (-reasons[name], name))
    found = {name: reasons[name] for name in names[:_MOST_ROWS]}
    rest = sum(reasons[name] for name in names[_MOST_ROWS:])
    return found | {OTHERS: rest} if rest else found


def _periods(found: Journeys, zone: ZoneInfo) -> list[Period]:
    months: dict[str, Counter[str]] = {}
    for kind, instants in found.moves.items():
        for at_ms in instants:
            months.setdefault(_month(at_ms, zone), Counter())[kind] += 1
    kinds = Period.__struct_fields__[1:]
    return [Period(month, **{kind: months[month][kind] for kind in kinds}) for month in sorted(months)]


def _duration(leads: Sequence[Journey], start: str, end: str) -> Duration | None:
    stages = dict(_STAGES)
    pairs = [(stages[start](lead), stages[end](lead)) for lead in leads]
    days = [(done - begun) / _DAY_MS for begun, done in pairs if begun is not None and done is not None and done >= begun]
    if not days:
        return None
    low, median, high = (days[0],) * 3 if len(days) == 1 else quantiles(days, n=4, method="inclusive")
    return Duration(start, end, len(days), median, low, high)


def _month(at_ms: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).strftime("%Y-%m")


def _day(at_ms: int | None, zone: ZoneInfo) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).strftime("%Y-%m-%d")
