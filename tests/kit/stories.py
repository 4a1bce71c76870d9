"""Random histories of one lead, each around one mechanism: ladders, fading sums, velocity, traits that contradict."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.kit.oracle_values import instant, rfc3339

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = instant("2026-03-25T00:00:00Z")
"""Four days before the clocks of Europe change."""

Line = dict[str, Any]
"""One line of a replay: a CloudEvent or `{"tick": …}`."""
CRM = ("crm.accepted", "crm.rejected", "crm.opportunity", "crm.won", "crm.lost", "crm.no_show")


class Case(NamedTuple):
    """A grid and what happens under it."""

    grid: str
    lines: list[Line]
    at_ms: int
    """The instant of the last tick; past every line."""


def yaml_of(grid: Mapping[str, Any]) -> str:
    """Return *grid* as YAML."""
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(grid, text)
    return text.getvalue()


def maybe(draw: st.DrawFn, into: dict[str, Any], name: str, values: st.SearchStrategy[Any], odds: int = 2) -> None:
    """Set *name* in *into*, once in *odds* times."""
    if draw(st.integers(1, odds)) == odds:
        into[name] = draw(values)


waits = st.sampled_from(["1h", "12h", "1d", "3d", "1w"])


def an_event(lead: str, number: int, at: int, kind: str, data: Mapping[str, Any]) -> Line:
    """A CloudEvent; its id is its number."""
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/made-up",
        "type": kind,
        "subject": lead,
        "time": rfc3339(at),
        "data": dict(data),
    }


def day_border(ms: int, plus: int) -> int:
    """Return the midnight of UTC or of Paris in winter before *ms*, and *plus*."""
    return ms - ms % DAY + plus - (HOUR if ms // DAY % 2 else 0)


def time_of(line: Line) -> int:
    """Return the instant of an event or a tick."""
    return instant(line["tick"] if "tick" in line else line["time"])


def end_of(lines: Sequence[Line], more: int) -> int:
    """Return the latest instant of *lines*, and *more*."""
    return max((time_of(line) for line in lines), default=START) + more


# --- Themes: few features at once, at the instants where they meet -----------------------------------------------------------


def near(*durations: int) -> st.SearchStrategy[int]:
    """Return durations: those given, mostly, or a millisecond to either side."""
    return st.sampled_from([0, 1, *(d + e for d in durations for e in (-1, 0, 0, 0, 1))])


@st.composite
def told_of_ada(
    draw: st.DrawFn, kinds: Sequence[str], onward: st.SearchStrategy[int], start: int = START, max_size: int = 14
) -> list[Line]:
    """What one lead does, each step *onward* from the one before, one in ten of them late, with ticks in between."""
    lines: list[Line] = []
    now = start
    for number in range(draw(st.integers(2, max_size))):
        now += draw(onward)
        kind = draw(st.sampled_from([*kinds, "tick"]))
        if kind == "tick":
            lines.append({"tick": rfc3339(now)})
            continue
        at = now - (draw(onward) if draw(st.integers(1, 10)) == 10 else 0)
        data: dict[str, Any] = (
            {"url": "/"} if kind == "page.viewed" else {"message_id": "m"} if kind.startswith("email.") else {}
        )
        if kind == "profile.updated":
            data = {"traits": {"country": draw(st.sampled_from(["FR", "DE"]))}}
        lines.append(an_event("ada", number, at, kind, data))
    return lines


@st.composite
def _phases(draw: st.DrawFn) -> dict[str, Any]:
    """Buying phases, where the scores of these stories are, and not at a limit that a score creeps up to."""
    enters = sorted(draw(st.sets(st.sampled_from([-0.4, 0.4, 2.4, 4.4, 7.4, 10.4]), min_size=1, max_size=4)))
    leaves = [draw(st.sampled_from([None, None, enter, enter - 0.3, enter - 5])) for enter in enters]
    return {
        f"phase {n}": enter if leave is None else {"enter": enter, "leave": leave}
        for n, (enter, leave) in enumerate(zip(enters, leaves, strict=True))
    }


phases = _phases()

response_times = st.sampled_from(
    [
        {"within": "4h"},
        {"within": "90m", "hours": {"days": "mon-fri", "from": "09:00", "to": "18:00", "off": ["2026-03-26"]}},
        {"within": "1h", "hours": {"days": ["sat-tue", "thu"], "from": "00:00", "to": "24:00"}},
        {"within": "4h", "hours": {"days": "mon-sun", "from": "01:30", "to": "02:30"}},
    ]
)


@st.composite
def selling(draw: st.DrawFn) -> Case:
    """A ladder with all its waits and a CRM with much to say: quiet, intent, SLA, closed ladders, exclusions, `min_fit`."""
    waits = st.sampled_from(["1h", "4h"])
    rules = [
        {"id": "page", "points": 6, "on": "page.viewed", "half_life": draw(st.sampled_from(["none", "1h", "4h"]))},
        {"id": "demo", "points": 9, "on": "demo.requested", "intent": True, "half_life": draw(st.sampled_from(["none", "1h"]))},
        {
            "id": "cold",
            "points": draw(st.sampled_from([-7, 7])),
            "on": ["email.bounced", "crm.accepted"],
            "expires_after": "4h",
        },
    ]
    stages: dict[str, Any] = {
        "mql": {"enter": 5.2, "leave": draw(st.sampled_from([2.6, 5.2, 8.2]))},
        "sql": {"enter": draw(st.sampled_from([8.3, 11.3])), "sla": draw(waits)},
    }
    maybe(draw, stages, "quiet", waits)
    maybe(draw, stages["sql"], "intent_within", waits)
    maybe(draw, stages["sql"], "leave", st.just(4.1))
    maybe(draw, stages["mql"], "intent_within", waits, 3)
    for rung in ("mql", "sql"):
        maybe(draw, stages[rung], "min_fit", st.sampled_from([-1, 0, 3]), 3)
        maybe(draw, stages[rung], "min_engagement", st.sampled_from([-1, 3.1, 6.1]), 3)
    maybe(draw, stages["sql"], "sla", response_times, 3)
    grid: dict[str, Any] = {"grid": "selling", "version": 1, "engagement": {"rules": rules}, "stages": stages}
    grid["fit"] = {
        "rules": [{"id": "fr", "points": 4, "where": {"country": "FR"}}, {"id": "de", "points": -2, "where": {"country": "DE"}}]
    }
    maybe(
        draw,
        grid,
        "exclusions",
        st.sampled_from([[{"id": "abroad", "where": {"country": "DE"}}], [{"id": "gone", "on": "email.bounced"}]]),
        4,
    )
    maybe(draw, grid, "phases", phases)
    maybe(draw, grid, "timezone", st.sampled_from(["Europe/Paris", "America/St_Johns"]), 3)
    kinds = ["page.viewed", "demo.requested"] * 3 + ["email.bounced", *CRM, *["profile.updated", "crm.accepted"] * 3]
    lines = draw(told_of_ada(kinds, near(HOUR, 3 * HOUR, 4 * HOUR), max_size=20))
    return Case(yaml_of(grid), lines, end_of(lines, draw(near(HOUR, 4 * HOUR, 12 * HOUR))))


@st.composite
def fading(draw: st.DrawFn) -> Case:
    """Points and penalties that fade at different speeds: a score may cross a threshold up and down between two events."""
    rules = [
        {"id": f"{kind} {n}", "on": kind, "points": draw(sign), "half_life": draw(st.sampled_from(["1h", "4h", "1d"]))}
        for kind, sign in (("page.viewed", st.integers(4, 12)), ("email.bounced", st.integers(-12, -4)))
        for n in range(draw(st.integers(1, 2)))
    ]
    for rule in rules:
        maybe(draw, rule, "cap", st.sampled_from([5, 8]), 3)
        maybe(draw, rule, "expires_after", st.sampled_from(["12h", "1d"]), 5)
    grid: dict[str, Any] = {"grid": "fading", "version": 1, "engagement": {"rules": rules}}
    maybe(draw, grid, "inactivity", st.just({"after": "1h", "every": "4h", "points": -1, "min": -3}), 4)
    maybe(draw, grid["engagement"], "max", st.sampled_from([2, 9]), 4)
    enter = draw(st.sampled_from([0.3, 1.1, 3.3, 5.3]))
    grid["stages"] = {"mql": {"enter": enter, "leave": enter - draw(st.sampled_from([0, 0.2, 2]))}}
    maybe(draw, grid["stages"]["mql"], "min_engagement", st.sampled_from([-0.7, 0.7, 2.7]), 3)
    maybe(draw, grid, "phases", phases)
    if draw(st.booleans()):
        grid["fit"] = {
            "rules": [{"id": "born", "points": draw(st.sampled_from([-3, 3])), "where": {"nobody": {"exists": False}}}]
        }
    lines = draw(told_of_ada(["page.viewed", "email.bounced"], st.one_of(near(HOUR, DAY), st.integers(0, DAY)), max_size=8))
    return Case(yaml_of(grid), lines, end_of(lines, 3 * DAY))


@st.composite
def pacing(draw: st.DrawFn) -> Case:
    """Velocity and what else steps by time, around the midnights of zones whose clocks change in these days."""
    zone, offset = draw(st.sampled_from([("UTC", 0), ("Europe/Paris", 1), ("America/Santiago", -3), ("Asia/Kathmandu", 5.75)]))
    velocity = [
        {
            "id": f"v{n}",
            "on": "page.viewed",
            "count": draw(st.sampled_from(["days", "rise", "rise", "events"])),
            "within": draw(st.sampled_from(["1d", "2d", "3d"])),
            "steps": draw(st.sampled_from([{1: 3}, {1: 8, 2: 2}, {2: -4}, {1: -5, 3: 9}])),
        }
        for n in range(draw(st.integers(1, 3)))
    ]
    rules = [
        {
            "id": "page",
            "on": "page.viewed",
            "points": draw(st.sampled_from([-3, 3])),
            "expires_after": draw(st.sampled_from(["1d", "2d"])),
        },
        {"id": "once", "on": "page.viewed", "points": 2, "once_per": "day"},
    ]
    grid: dict[str, Any] = {
        "grid": "pacing",
        "version": 1,
        "timezone": zone,
        "engagement": {"rules": rules},
        "velocity": velocity,
    }
    maybe(draw, grid, "inactivity", st.just({"after": "1d", "every": "12h", "points": -2, "min": -5}))
    enter = draw(st.integers(0, 9))
    grid["stages"] = {"mql": {"enter": enter, "leave": enter - draw(st.integers(0, 3))}}
    maybe(draw, grid["stages"], "quiet", st.just("1d"))
    maybe(draw, grid, "phases", phases)
    start = instant(draw(st.sampled_from(["2026-03-28T00:00:00Z", "2026-04-04T00:00:00Z"]))) - int(offset * HOUR)
    onward = near(12 * HOUR, 23 * HOUR, DAY, 25 * HOUR, 2 * DAY)
    lines = draw(told_of_ada(["page.viewed"] * 3 + ["email.delivered"], onward, start - draw(st.sampled_from([0, 1]))))
    return Case(yaml_of(grid), lines, end_of(lines, draw(near(DAY, 3 * DAY, 5 * DAY))))


TRAIT_PATHS = ("company", "company.size", "company.size.low", "company.name", "country", "email_kind", "email_domain")
TRAIT_GRID = yaml_of(
    {
        "grid": "learning",
        "version": 1,
        "fit": {
            "rules": [
                {"id": f"{path} {value}", "points": 2**n, "where": {path: {"exists": True} if value is None else value}}
                for n, (path, value) in enumerate(
                    [(path, None) for path in TRAIT_PATHS] + [(path, value) for path in TRAIT_PATHS[:4] for value in (1, 2)]
                )
            ]
        },
    }
)
"""Each set of traits that holds has a score of its own."""


@st.composite
def learning(draw: st.DrawFn) -> Case:
    """Profiles of one lead that contradict one another, above and below each other, in any order, often at one instant."""
    lines = []
    for number in range(draw(st.integers(3, 8))):
        path = draw(st.sampled_from([*TRAIT_PATHS[:4] * 3, "country", "email"]))
        values = ["ada@acme.example", "ada@gmail.com", "nonsense", 7, None] if path == "email" else [1, 2, None]
        told: Any = draw(st.sampled_from(values))
        names = path.split(".")
        while len(names) > 1 and draw(st.booleans()):
            told = {names.pop(): told}
        data = {"traits": {".".join(names): told}}
        lines.append(an_event("ada", number, START + draw(st.integers(0, 4)), "profile.updated", data))
    return Case(TRAIT_GRID, lines, end_of(lines, 0))


def again_after(others: int) -> Case:
    """An event that comes again after *others* have come, each with a session of its own."""
    rules = [
        {"id": "page", "points": 1, "on": "page.viewed"},
        {"id": "once", "points": 3, "on": "page.viewed", "once_per": "session_id"},
    ]
    lines = [an_event("ada", n, START + n, "page.viewed", {"url": "/", "session_id": str(n)}) for n in range(others + 1)]
    session = an_event("ada", others + 1, START + others + 1, "page.viewed", {"url": "/", "session_id": "0"})
    return Case(
        yaml_of({"grid": "again", "version": 1, "engagement": {"rules": rules}}), [*lines, lines[0], session], START + DAY
    )
