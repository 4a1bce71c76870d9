"""Random grids and random histories of leads, small enough that things happen and edges are hit.

Numbers are chosen so that two ways of adding up the same points cannot disagree about an instant: where a penalty fades, the
score creeps up to a limit, and a threshold within 1e-9 of that limit would be reached at an instant that double arithmetic
cannot tell within minutes. So thresholds are round numbers only in grids in which no penalty fades.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.core.oracle import instant, rfc3339

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = instant("2026-03-25T00:00:00Z")
"""Four days before the clocks of Europe change."""

Line = dict[str, Any]
"""One line of a replay: a CloudEvent or `{"tick": …}`."""

WEB = ("page.viewed", "demo.requested", "content.downloaded", "social.shared")
MAIL = ("email.delivered", "email.opened", "email.clicked", "email.bounced", "email.unsubscribed")
CRM = ("crm.accepted", "crm.rejected", "crm.opportunity", "crm.won", "crm.lost", "crm.no_show")
SCORED = (*WEB, "email.opened", "email.clicked", "email.bounced", "crm.accepted")


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


# --- Grids -------------------------------------------------------------------------------------------------------------------

data_conditions = st.sampled_from(
    [
        {"page_type": "pricing"},
        {"page_type": ["pricing", "product"]},
        {"x": 1},
        {"x": "1"},
        {"x": {"not": [1, "b"]}},
        {"x": {"exists": False}},
        {"x": {"gte": 1}},
        {"utm.source": {"matches": "^ad"}},
        {"utm.source": {"exists": True}, "x": {"exists": True}},
    ]
)
trait_conditions = st.sampled_from(
    [
        {"email_kind": "business"},
        {"email_kind": {"in": ["free", "disposable", "invalid"]}},
        {"email_domain": "acme.example"},
        {"company.size": {"gte": 50, "lte": 200}},
        {"company": "acme"},
        {"company": {"exists": False}},
        {"role": ["cto", "ceo"]},
        {"role": {"not": "cto"}},
        {"country": {"not": ["FR", "BE"]}, "role": {"exists": True}},
    ]
)


def maybe(draw: st.DrawFn, into: dict[str, Any], name: str, values: st.SearchStrategy[Any], odds: int = 2) -> None:
    """Set *name* in *into*, once in *odds* times."""
    if draw(st.integers(1, odds)) == odds:
        into[name] = draw(values)


points = st.one_of(
    st.integers(1, 12), st.sampled_from([2.5, 15, 30, 60]), st.sampled_from([2.5, 15, 30, 60]), st.integers(-12, -1)
)
half_lives = st.sampled_from(["none", "1h", "1d", "36h", "7d"])
waits = st.sampled_from(["1h", "12h", "1d", "3d", "1w"])


@st.composite
def grids(draw: st.DrawFn, /, **fixed: Any) -> str:
    """A valid grid with any of the features of section 3; *fixed* sets top-level parts as they are."""
    types = st.lists(st.sampled_from(SCORED), min_size=1, max_size=2, unique=True)
    engagement: dict[str, Any] = {"rules": []}
    maybe(draw, engagement, "min", st.integers(-40, -1))
    maybe(draw, engagement, "max", st.integers(10, 80))
    maybe(draw, engagement, "half_life", half_lives)
    for n in range(draw(st.integers(1, 5))):
        rule: dict[str, Any] = {"id": f"rule-{n}", "points": draw(points), "on": draw(types)}
        if len(rule["on"]) == 1:
            rule["on"] = rule["on"][0]
        maybe(draw, rule, "where", data_conditions, 6)
        maybe(draw, rule, "once_per", st.sampled_from(["event", "day", "lead", "message_id", "session_id", "x"]))
        maybe(draw, rule, "half_life", half_lives)
        maybe(draw, rule, "cap", st.sampled_from([3, 10.5, 24]))
        maybe(draw, rule, "expires_after", waits, 3)
        if draw(st.integers(1, 3)) > 1:
            rule["intent"] = draw(st.sampled_from([True, True, False]))
        engagement["rules"].append(rule)
    fading = any(
        rule["points"] < 0 and rule.get("half_life", engagement.get("half_life")) != "none" for rule in engagement["rules"]
    )
    grid: dict[str, Any] = {"grid": "made-up", "version": draw(st.integers(1, 9)), "engagement": engagement}
    maybe(draw, grid, "timezone", st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu"]))
    maybe(draw, grid, "pages", st.just({"pricing": ["/pricing*", "*/tarifs"], "product": "/product/*"}))
    maybe(draw, grid, "score", st.sampled_from([{"min": 0}, {"max": 40}, {"min": 0, "max": 100}, {"min": -5, "max": 60}]))
    if draw(st.booleans()):
        fit: dict[str, Any] = {
            "rules": [
                {"id": f"fit-{n}", "points": draw(points), "where": draw(trait_conditions)}
                for n in range(draw(st.integers(1, 4)))
            ]
        }
        maybe(draw, fit, "min", st.integers(-10, 0))
        maybe(draw, fit, "max", st.integers(5, 50))
        grid["fit"] = fit
    if draw(st.booleans()):
        grid["velocity"] = [draw(velocities(n)) for n in range(draw(st.integers(1, 3)))]
    if draw(st.booleans()):
        grid["inactivity"] = {
            "after": draw(waits),
            "every": draw(st.sampled_from(["12h", "1d", "1w"])),
            "points": draw(st.integers(-6, -1)),
        }
        maybe(draw, grid["inactivity"], "min", st.integers(-30, -6))
    if draw(st.integers(1, 3)) == 3:
        grid["exclusions"] = [{"id": "rival", "where": draw(trait_conditions)}]
        maybe(draw, grid["exclusions"][0], "on", st.just("profile.updated"), 8)
        if draw(st.booleans()):
            grid["exclusions"].append(
                {"id": "gone", "on": draw(st.sampled_from(["email.unsubscribed", ["email.bounced", "email.unsubscribed"]]))}
            )
            maybe(draw, grid["exclusions"][1], "where", st.just({"x": {"exists": True}}))
    if draw(st.integers(1, 8)) > 1:
        grid["stages"] = draw(ladders(0.137 if fading else 0))
    maybe(
        draw,
        grid,
        "grades",
        st.just({"fit": {"A": 20.137, "B": 5.137, "C": 0.137}, "engagement": {1: 20.137, 2: 5.137, 3: 0.137}}),
    )
    return yaml_of(grid | fixed)


@st.composite
def velocities(draw: st.DrawFn, n: int) -> dict[str, Any]:
    """A velocity of any kind."""
    count = draw(st.sampled_from(["days", "rise", "events", "sessions"]))
    rule = {
        "id": f"velocity-{n}",
        "on": draw(st.sampled_from(["page.viewed", ["page.viewed", "email.clicked"]])),
        "count": count,
        "within": draw(st.sampled_from(["1d", "2d", "3d", "1w"] + ([] if count == "sessions" else ["10d", "45d"]))),
        "steps": draw(st.sampled_from([{1: 3}, {2: 5, 3: 10}, {1: 1, 2: 20, 5: 30}])),
    }
    maybe(draw, rule, "where", data_conditions, 4)
    return rule


@st.composite
def ladders(draw: st.DrawFn, offset: float) -> dict[str, Any]:
    """The `stages` of a grid; *offset* is added to every threshold of the score."""
    stages: dict[str, Any] = {}
    rungs = draw(st.sampled_from([("mql", "sql"), ("mql", "sql"), ("mql", "sql"), ("mql",), ("sql",)]))
    for name in rungs:
        enter = draw(st.integers(2, 12) if name == "mql" else st.integers(5, 20))
        rung: dict[str, Any] = {"enter": enter + offset}
        maybe(draw, rung, "leave", st.integers(1, enter + 2).map(lambda n: n + offset))
        maybe(draw, rung, "min_fit", st.integers(-5, 8), 6)
        if name == "sql":
            maybe(draw, rung, "intent_within", waits, 4)
            if draw(st.integers(1, 4)) > 1:
                rung["sla"] = draw(st.sampled_from(["15m", "4h", "2d", "1w"]))
        stages[name] = rung
    maybe(draw, stages, "quiet", waits)
    return stages


# --- Histories ---------------------------------------------------------------------------------------------------------------

EXACT = (0, 1, 15 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY)
"""The durations that the grids use, so that events often come at the very instant at which something ends."""

ONWARD = st.one_of(st.sampled_from(EXACT), st.sampled_from(EXACT), st.integers(0, 3 * DAY))
BACK = st.one_of(st.sampled_from(EXACT), st.integers(0, 5 * DAY))


@st.composite
def datas(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """The `data` of an event of type *kind*."""
    data: dict[str, Any] = {}
    if kind == "page.viewed":
        data["url"] = draw(
            st.sampled_from(
                ["https://a.example/pricing?x=1", "https://a.example/fr/tarifs", "/product/1/2", "https://a.example"]
            )
        )
        maybe(draw, data, "page_type", st.sampled_from(["pricing", "other", None]), 3)
        maybe(draw, data, "session_id", st.sampled_from(["s1", "s2", "s3", None]))
        maybe(draw, data, "utm", st.sampled_from([{"source": "ads"}, {"source": None}, {}]), 4)
    elif kind.startswith("email."):
        data["message_id"] = draw(st.sampled_from(["m1", "m2", "m3"]))
    elif kind.startswith("webinar."):
        data["webinar_id"] = "w"
    elif kind == "profile.updated":
        data["traits"] = draw(traits)
    elif kind == "lead.identified":
        data["anonymous_id"] = "nobody"
    maybe(draw, data, "x", st.sampled_from([1, "1", True, "true", 2.5, "b", None]), 3)
    if draw(st.integers(1, 10)) == 10:
        data["machine"] = True
    return data


TRAITS: list[dict[str, Any]] = [
    {"email": "ada@acme.example"},
    {"email": "ada@gmail.com"},
    {"email": "nonsense"},
    {"email": None},
    {"role": "cto"},
    {"role": "intern"},
    {"role": None},
    {"country": "FR"},
    {"country": "NO"},
    {"company": {"size": 80, "name": "Acme", "domain": "acme.example"}},
    {"company.domain": "mail.example"},
    {"company.domain": None},
    {"company.size": 10},
    {"company.size": None},
    {"company": "acme"},
    {"company": None},
    {"company": {"size": {"low": 50, "high": 80}}},
]
"""Writes of one trait: nested, dotted, removals, a value where another has an object."""


def written(trait: dict[str, Any]) -> str:
    """Return the first name of the path that a write is about: no event writes to one place twice."""
    return next(iter(trait)).split(".")[0]


traits = st.lists(st.sampled_from(TRAITS), min_size=1, max_size=3, unique_by=written).map(
    lambda ts: {name: value for t in ts for name, value in t.items()}
)


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


TYPES = st.sampled_from(
    # What scores is drawn often, so that leads get somewhere before the CRM has its say.
    [*WEB, *SCORED] * 3 + ["page.viewed", "profile.updated"] * 4 + [*MAIL, *CRM]
)


@st.composite
def histories(
    draw: st.DrawFn,
    leads: Sequence[str] = ("ada", "bob"),
    max_size: int = 40,
    late: bool = True,
    ticks: bool = True,
    repeats: bool = True,
    erasures: bool = True,
) -> list[Line]:
    """What happens to a few leads, in the order in which it arrives.

    *late*: some events arrive after later ones or after a tick past them (without it, each is later than every tick before it
    and no earlier than every event before it). *repeats*: some arrive twice.
    """
    lines: list[Line] = []
    now, ticked = START + draw(st.sampled_from([0, 22 * HOUR, DAY])), START - 1
    for number in range(draw(st.integers(1, max_size))):
        now += draw(ONWARD)
        what = draw(st.integers(1, 20))
        if what == 1 and repeats and lines:
            lines.append(draw(st.sampled_from(lines)))
            continue
        if what <= 3 and ticks:
            lines.append({"tick": rfc3339(now)})
            ticked = now
            continue
        if not late:
            now = max(now, ticked + 1)
        at = now - draw(BACK) if late and what <= 8 else now
        if what == 9:
            at = day_border(now, draw(st.sampled_from([-1, 0, 1])))
            if not late:
                at = now
        kind = draw(TYPES)
        if erasures and what == 10 and draw(st.integers(1, 4)) == 4:
            kind = "lead.erased"
        data = draw(datas(kind)) if kind != "lead.erased" else {}
        lines.append(an_event(draw(st.sampled_from(leads)), number, at, kind, data))
    return lines


def day_border(ms: int, plus: int) -> int:
    """Return the midnight of UTC or of Paris in winter before *ms*, and *plus*."""
    return ms - ms % DAY + plus - (HOUR if ms // DAY % 2 else 0)


def time_of(line: Line) -> int:
    """Return the instant of an event or a tick."""
    return instant(line["tick"] if "tick" in line else line["time"])


def end_of(lines: Sequence[Line], more: int) -> int:
    """Return the latest instant of *lines*, and *more*."""
    return max((time_of(line) for line in lines), default=START) + more


@st.composite
def cases(draw: st.DrawFn, /, **how: Any) -> Case:
    """A grid, a history and how long to wait after it."""
    lines = draw(histories(**how))
    return Case(draw(grids()), lines, end_of(lines, draw(st.sampled_from([0, 1, HOUR, DAY, 10 * DAY, 60 * DAY]))))


@st.composite
def crowds(draw: st.DrawFn) -> Case:
    """One lead with more values and ids than are remembered, all at instants of their own, some twice, in some disorder."""
    count, random = draw(st.integers(60, 150)), draw(st.randoms(use_true_random=False))
    spread, sessions = draw(st.sampled_from([MINUTE, HOUR, 15 * HOUR])), draw(st.sampled_from([40, 75, 200]))
    lines: list[Line] = []
    for number in range(count):
        at = START + (number + random.choice([0, 0, 0, -9, -70])) * spread + number
        lines.append(an_event("ada", number, at, "page.viewed", {"url": "/", "session_id": str(random.randrange(sessions))}))
        if random.random() < 0.1:
            lines.append(lines[-min(random.choice([1, 2, *range(62, 70)]), len(lines))])
    rules = [{"id": "r", "points": 1, "on": "page.viewed", "once_per": "session_id", "half_life": draw(half_lives)}]
    velocity = [{"id": "v", "on": "page.viewed", "count": "sessions", "within": "3d", "steps": {1: 1, 16: 2, 40: 3}}]
    grid = draw(grids(engagement={"rules": rules}, velocity=velocity, stages={"mql": {"enter": 20.137, "leave": 15.137}}))
    return Case(grid, lines, end_of(lines, draw(st.sampled_from([0, DAY, 10 * DAY]))))


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
    for rung in ("mql", "sql"):
        maybe(draw, stages[rung], "min_fit", st.sampled_from([-1, 0, 3]), 3)
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
