"""Random grids and random histories of leads, small enough that things happen and edges are hit.

Numbers are chosen so that two ways of adding up the same points cannot disagree about an instant. Where a penalty fades, the
score creeps up to a limit. Double arithmetic cannot tell within minutes when it reaches a threshold within 1e-9 of that limit.
So thresholds are round numbers only in grids in which no penalty fades.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.kit.oracle_values import rfc3339
from tests.kit.stories import (
    CRM,
    DAY,
    HOUR,
    MINUTE,
    START,
    Case,
    Line,
    an_event,
    day_border,
    end_of,
    maybe,
    phases,
    waits,
    yaml_of,
)

WEB = ("page.viewed", "demo.requested", "content.downloaded", "social.shared")
MAIL = ("email.delivered", "email.opened", "email.clicked", "email.bounced", "email.unsubscribed")
SCORED = (*WEB, "email.opened", "email.clicked", "email.bounced", "crm.accepted")


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
        {"x": {"lte": 2, "gte": 2}},
        {"x": {"words": ["b", "true"]}},
        {"utm.source": {"matches": "^ad"}},
        {"utm.source": {"exists": True}, "x": {"exists": True}},
    ]
)
trait_conditions = st.sampled_from(
    [
        {"email_kind": "business"},
        {"email_kind": {"in": ["free", "disposable", "invalid"]}},
        {"email_domain": "acme.example"},
        {"email_domain": ["EXÄMPLE.de", "ACME.example"]},
        {"email": "Ada@ACME.EXAMPLE"},
        {"company.domain": {"not": "WWW.mail.example"}},
        {"company.size": {"gte": 50, "lte": 200}},
        {"company": "acme"},
        {"company": {"exists": False}},
        {"company": {"exists": True}},
        {"company": {"not": "acme"}},
        {"role": {"words": ["cto", "head of"]}},
        {"role": ["cto", "ceo"]},
        {"role": {"not": "cto"}},
        {"country": {"not": ["FR", "BE"]}, "role": {"exists": True}},
    ]
)


points = st.one_of(
    st.integers(1, 12), st.sampled_from([2.5, 15, 30, 60]), st.sampled_from([2.5, 15, 30, 60]), st.integers(-12, -1)
)
half_lives = st.sampled_from(["none", "1h", "1d", "36h", "7d"])


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
    maybe(draw, grid, "pages", st.just({"pricing": ["/pricing*", "*/tarifs", "/preise-für*"], "product": "/product/*"}))
    maybe(draw, grid, "hash_routes", st.booleans(), 4)
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
    maybe(draw, grid, "phases", phases, 3)
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
        maybe(draw, rung, "min_engagement", st.integers(-5, 12).map(lambda n: n + offset), 6)
        maybe(draw, rung, "intent_within", waits, 4 if name == "sql" else 8)
        if name == "sql" and draw(st.integers(1, 4)) > 1:
            rung["sla"] = draw(st.sampled_from(["15m", "4h", "2d", "1w"]))
        stages[name] = rung
    maybe(draw, stages, "quiet", waits)
    return stages


# --- Histories ---------------------------------------------------------------------------------------------------------------

EXACT = (0, 1, 15 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY)
"""The durations that the grids use, so that events often come at the very instant at which something ends."""

ONWARD = st.one_of(st.sampled_from(EXACT), st.sampled_from(EXACT), st.integers(0, 3 * DAY))
BACK = st.one_of(st.sampled_from(EXACT), st.integers(0, 5 * DAY))


odd_values = st.one_of(
    st.sampled_from([1, "1", True, "true", 2.5, "b", None, " ", " 2.0", "+1", "1e0", "-0.0", 0, -0.0]),
    st.sampled_from([[1, "b"], [3, 0], [], [None, " "], ["2", 2.5], [[1]], [{"a": 1}, 1], [1] * 64, [1] * 65]),
    st.sampled_from([{"a": 1}, {"a": {"b": " "}}, {"a": []}]),
)
"""Of events' `x`: what conditions, weights and `once_per` may take for another value, for several or for none."""


@st.composite
def datas(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """The `data` of an event of type *kind*."""
    data: dict[str, Any] = {}
    if kind == "page.viewed":
        data["url"] = draw(
            st.sampled_from(
                [
                    "https://a.example/pricing?x=1",
                    "https://a.example/fr/tarifs",
                    "/product/1/2",
                    "https://a.example",
                    "https://a.example/preise-f%C3%BCr-teams",
                    "https://a.example/#/pricing?x=1",
                    "/product/1#pricing",
                ]
            )
        )
        maybe(draw, data, "page_type", st.sampled_from(["pricing", "other", None, " "]), 3)
        maybe(draw, data, "session_id", st.sampled_from(["s1", "s2", "3", 3, None, ""]))
        maybe(draw, data, "utm", st.sampled_from([{"source": "ads"}, {"source": None}, {}]), 4)
    elif kind.startswith("email."):
        data["message_id"] = draw(st.sampled_from(["m1", "m2", "m3"]))
    elif kind.startswith("webinar."):
        data["webinar_id"] = "w"
    elif kind == "profile.updated":
        data["traits"] = draw(traits)
    elif kind == "lead.identified":
        data["anonymous_id"] = "nobody"
    maybe(draw, data, "x", odd_values, 3)
    if draw(st.integers(1, 10)) == 10:
        data["machine"] = True
    return data


TRAITS: list[dict[str, Any]] = [
    {"email": "ada@acme.example"},
    {"email": "ada@gmail.com"},
    {"email": "nonsense"},
    {"email": None},
    {"email": " "},
    {"email": " Ada@ACME.example"},
    {"email": "ada@Exämple.de"},
    {"email_domain": "acme.example"},
    {"role": " "},
    {"role": ["cto", "intern", None]},
    {"role": ["Head of growth", " ", True, 7]},
    {"role": []},
    {"role": "cto"},
    {"role": "intern"},
    {"role": None},
    {"country": "FR"},
    {"country": "NO"},
    {"company": {"size": 80, "name": "Acme", "domain": "acme.example"}},
    {"company.domain": "mail.example"},
    {"company.domain": "https://www.Mail.example/about"},
    {"company.size": " 80"},
    {"company.size": [" 60.0", "many", 8]},
    {"company.size": "eighty"},
    {"company.domain": None},
    {"company.size": 10},
    {"company.size": None},
    {"company": "acme"},
    {"company": {"size": " ", "name": "Acme"}},
    {"company": {"domain": "ACME.example.", "size": [None, ""]}},
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

    *late*: some events arrive after later ones or after a tick past them. Without it, each is later than every tick before it,
    and no event is earlier than one before it. *repeats*: some arrive twice.
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


@st.composite
def cases(draw: st.DrawFn, /, **how: Any) -> Case:
    """A grid, a history and how long to wait after it."""
    lines = draw(histories(**how))
    return Case(draw(grids()), lines, end_of(lines, draw(st.sampled_from([0, 1, HOUR, DAY, 10 * DAY, 60 * DAY]))))


@st.composite
def crowds(draw: st.DrawFn) -> Case:
    """One lead with more values and ids than are remembered, all at instants of their own, some twice, in some disorder."""
    count, random = draw(st.integers(60, 150)), draw(st.randoms(use_true_random=False))
    spread, sessions = draw(st.sampled_from([MINUTE, HOUR, 15 * HOUR])), draw(st.sampled_from([3, 40, 75, 200]))
    lines: list[Line] = []
    for number in range(count):
        at = START + (number + random.choice([0, 0, 0, -9, -70])) * spread + number
        data = {"url": "/", "session_id": str(random.randrange(sessions)), "number": number}
        lines.append(an_event("ada", number, at, "page.viewed", data))
        if random.random() < 0.1:
            lines.append(lines[-min(random.choice([1, 2, *range(62, 70)]), len(lines))])
    rules: list[dict[str, Any]] = [
        {"id": "r", "points": 1, "on": "page.viewed", "once_per": "session_id", "half_life": draw(half_lives)},
        {"id": "w", "points": 1, "on": "page.viewed", "weigh": {"path": "number", "min": -9, "max": 60, "times": 0.5}},
    ]
    maybe(draw, rules[1], "once_per", st.sampled_from(["session_id", ["session_id", "day"]]))
    maybe(draw, rules[1], "decay", st.sampled_from([{"linear": "7d"}, {"window": "2d"}, {"half_life": "1d"}]))
    velocity = [
        {"id": count, "on": "page.viewed", "count": count, "within": "3d", "steps": {1: 1, 4: 2, 16: 2, 40: 3}}
        for count in ("sessions", "depth")
    ]
    grid = draw(grids(engagement={"rules": rules}, velocity=velocity, stages={"mql": {"enter": 20.137, "leave": 15.137}}))
    return Case(grid, lines, end_of(lines, draw(st.sampled_from([0, DAY, 10 * DAY]))))
