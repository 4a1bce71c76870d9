"""Random grids with the words that make a grid say what marketers mean, in combination, and histories that meet them.

`with_words` adds the words to any drawn grid. `worded_cases` draws grids and histories for properties of the whole core.
`counting_cases` draws grids of rules alone, for what can be recounted by hand (`tests.kit.recount`).
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.kit.oracle_values import as_list
from tests.kit.stories import DAY, HOUR, START, Case, Line, an_event, end_of, maybe, near, yaml_of
from tests.kit.strategies import cases

OWN = ("custom.fair", "custom.call", "custom.call.made", "custom.call.missed")
OTHER = ("email.subscribed", "score.adjusted")
CHANGED = ("page.viewed", "email.opened", "email.clicked", "content.downloaded", "social.shared")
"""Types of which some events become events of those."""

ons = st.sampled_from([*OWN, *OTHER, "custom.*", "custom.call.*"])
"""Types that rules name beside those of `tests.kit.strategies`."""

AMOUNTS = st.sampled_from([0, 1, 2, 0.5, -1, -3.5, 80, "4", " -2.5 ", "many", True, None, [2], 1e300, -(10**18)])
"""Of events' `worth`: numbers, numbers as text, and what is no number."""

weighs = st.sampled_from(
    [
        {"path": "worth", "min": -5, "max": 5},
        {"path": "worth", "min": 0, "max": 3, "times": 0.5},
        {"path": "worth", "min": 1, "max": 4},
        {"path": "worth", "min": -4, "max": -1, "times": -1},
        {"path": "x", "min": -2, "max": 2.5, "times": 2},
    ]
)
spans = st.sampled_from(["1h", "1d", "36h", "7d"])
decays = st.one_of(
    st.builds(lambda kind, span: {kind: span}, st.sampled_from(["linear", "window"]), spans), st.just({"half_life": "1d"})
)
once_pers = st.sampled_from(
    ["day", "lead", "session_id", "x", ["session_id", "x"], ["day", "session_id"], ["lead", "x"], ["message_id", "worth"]]
)
tables = st.sampled_from(
    [
        {"table": "role", "values": {"cto": 7, "intern": -6}, "else": 1},
        {"table": "role", "values": {"intern": -6, "cto": 7}},
        {"table": "role", "bands": [["a", 1.5], ["d", 4], ["i", -2]], "else": -1},
        {"table": "company.size", "bands": [[10, -3], [50, 4], [80.5, 9]], "else": 2},
        {"table": "company.size", "values": {80: 5, 10: -2}, "else": 0.5},
        {"table": "company.size", "values": {"80": 5, "10": -2}},
        {"table": "company", "values": {"acme": 3}, "else": 2},
        {"table": "company.domain", "values": {"www.Mail.example": 6, "acme.example": 3}},
        {"table": "email_domain", "values": {"EXÄMPLE.de": 6, "acme.example": 3}, "else": -1},
        {"table": "email_kind", "values": {"business": 4, "free": -3}, "else": -5},
    ]
)
tiers = st.sampled_from(
    [
        [{"after": "12h", "points": -2}, {"after": "3d", "every": "1d", "points": -1, "min": -4}],
        [
            {"after": "1d", "every": "12h", "points": -3, "min": -5},
            {"after": "1d", "points": -1},
            {"after": "1w", "points": -7},
        ],
    ]
)
groups = st.sampled_from([{"cap": 4}, {"cap": 0.5}, {"best": True}, {"best": True}])


def _worded_rule(draw: st.DrawFn, rule: dict[str, Any], group_names: tuple[str, ...]) -> None:
    """Add any of the words to an engagement rule."""
    maybe(draw, rule, "weigh", weighs)
    maybe(draw, rule, "once_per", once_pers)
    if draw(st.integers(1, 3)) > 1:
        rule.pop("half_life", None)
        rule["decay"] = draw(decays)
    maybe(draw, rule, "group", st.sampled_from(group_names))


def _also_on(draw: st.DrawFn, rule: dict[str, Any], name: str = "on") -> None:
    """Let a rule name one more type, once in three times."""
    if draw(st.integers(1, 3)) == 3:
        rule[name] = sorted({*as_list(rule[name]), draw(ons)})


def with_words(draw: st.DrawFn, grid: dict[str, Any]) -> dict[str, Any]:
    """Add any of the words to a drawn grid."""
    grid = {**grid, "groups": {name: draw(groups) for name in ("doing", "more", "being")}}
    engagement = grid["engagement"]
    if draw(st.booleans()):
        engagement.pop("half_life", None)
        engagement["decay"] = draw(decays)
    for rule in engagement["rules"]:
        _worded_rule(draw, rule, ("doing", "more"))
        _also_on(draw, rule)
        maybe(draw, rule, "label", st.sampled_from(["Seen", {"en": "Seen", "fr": "Vu"}]), 8)
    by_hand = {"id": "by-hand", "points": 1, "on": "score.adjusted", "weigh": {"path": "points", "min": -9, "max": 9}}
    if draw(st.booleans()):
        engagement["rules"].append(by_hand | {"half_life": "none"})
    for rule in grid.get("fit", {}).get("rules", []):
        maybe(draw, rule, "points", tables)
        maybe(draw, rule, "group", st.just("being"))
        if isinstance(rule["points"], dict) and draw(st.booleans()):
            del rule["where"]
    maybe(draw, grid, "inactivity", tiers)
    grid["velocity"] = list(grid.get("velocity", []))
    velocity = {"id": "depth", "on": "page.viewed", "count": "depth", "within": draw(st.sampled_from(["1d", "3d", "1w"]))}
    if draw(st.booleans()):
        grid["velocity"].append({**velocity, "steps": {2: 3, 4: -1}})
    for rule in grid["velocity"]:
        _also_on(draw, rule)
    if draw(st.booleans()):
        lifted = {
            "id": "lifted",
            "on": ["email.bounced", "crm.lost", "custom.call"],
            "until": draw(st.sampled_from(["page.viewed", ["crm.won"], "email.subscribed", "custom.call.*"])),
        }
        maybe(draw, lifted, "where", st.just({"x": {"exists": True}}), 4)
        grid["exclusions"] = [*grid.get("exclusions", []), lifted]
    return _off_limits(grid)


def _off_limits(grid: dict[str, Any]) -> dict[str, Any]:
    """Move whole thresholds of the ladder a little: with these words points may fade towards any whole number."""
    for rung in grid.get("stages", {}).values():
        for name in ("enter", "leave", "min_engagement"):
            if isinstance(rung, dict) and rung.get(name, 0.5) % 1 == 0:
                rung[name] += 0.137
    return grid


def with_events(draw: st.DrawFn, lines: list[Line]) -> list[Line]:
    """Make some events ones of the types that only these grids name, the same ones each time an event comes."""
    drawn: dict[str, tuple[str, dict[str, Any]] | None] = {}
    found = []
    for line in lines:
        if "tick" in line or line["type"] not in CHANGED:
            found.append(line)
            continue
        if line["id"] not in drawn:
            kind = draw(st.sampled_from([*OWN, *OTHER])) if draw(st.integers(1, 4)) == 4 else None
            more = {"points": draw(st.sampled_from([3, -2.5, " 4.5 ", "", 20]))} if kind == "score.adjusted" else {}
            drawn[line["id"]] = None if kind is None else (kind, more)
        changed = drawn[line["id"]]
        found.append(line if changed is None else {**line, "type": changed[0], "data": {**line["data"], **changed[1]}})
    return found


def with_amounts(draw: st.DrawFn, lines: list[Line]) -> list[Line]:
    """Give some events an `worth`, the same one each time an event comes."""
    drawn: dict[str, Any] = {}
    found = []
    for line in lines:
        if "tick" not in line and line["type"] not in ("profile.updated", "lead.erased", "lead.identified"):
            if line["id"] not in drawn:
                drawn[line["id"]] = {"worth": draw(AMOUNTS)} if draw(st.integers(1, 4)) > 1 else {}
            found.append({**line, "data": {**line["data"], **drawn[line["id"]]}})
        else:
            found.append(line)
    return found


@st.composite
def worded_cases(draw: st.DrawFn, /, **how: Any) -> Case:
    """A case of `cases`, with any of the words."""
    case = draw(cases(**how))
    grid = with_words(draw, YAML(typ="safe", pure=True).load(case.grid))
    return Case(yaml_of(grid), with_amounts(draw, with_events(draw, case.lines)), case.at_ms)


points = st.sampled_from([1, 2.5, 4, 10, -1, -3, -10])


@st.composite
def counting_cases(draw: st.DrawFn, /, most: int = 20, kinds: tuple[str, ...] = ("page.viewed", "crm.accepted")) -> Case:
    """Rules and groups alone, and what one lead does, at instants at which occurrences end, in any order of arrival."""
    engagement: dict[str, Any] = {"rules": []}
    maybe(draw, engagement, "decay", decays)
    for n in range(draw(st.integers(1, 4))):
        rule = {"id": f"rule-{n}", "points": draw(points), "on": draw(st.sampled_from([*kinds, list(kinds)]))}
        maybe(draw, rule, "cap", st.sampled_from([3, 10.5]), 4)
        maybe(draw, rule, "expires_after", st.sampled_from(["4h", "2d"]), 5)
        maybe(draw, rule, "half_life", st.sampled_from(["none", "1d"]), 4)
        _worded_rule(draw, rule, ("doing", "more"))
        engagement["rules"].append(rule)
    if draw(st.integers(1, 4)) == 4:  # two parts that are equal, but for the sign, all the time
        engagement["rules"].append({**engagement["rules"][0], "id": "mirror", "points": -engagement["rules"][0]["points"]})
    named = {rule["group"] for rule in engagement["rules"] if "group" in rule}
    grid = {
        "grid": "counting",
        "version": 1,
        "engagement": engagement,
        "groups": {name: draw(groups) for name in sorted(named)},
    }
    enter = draw(st.sampled_from([0.3, 1.1, 3.3, 5.3]))
    grid["stages"] = {"mql": {"enter": enter, "leave": enter - draw(st.sampled_from([0, 0.2, 2]))}}
    lines: list[Line] = []
    now = START
    onward = st.one_of(near(HOUR, DAY, 36 * HOUR), st.integers(0, 2 * DAY))
    for number in range(draw(st.integers(1, most))):
        now += draw(onward)
        at = now - (draw(onward) if draw(st.integers(1, 4)) == 4 else 0)
        kind = draw(st.sampled_from(kinds))
        data: dict[str, Any] = {"url": "/"} if kind == "page.viewed" else {}
        maybe(draw, data, "session_id", st.sampled_from(["s1", "s2"]))
        maybe(draw, data, "x", st.sampled_from([1, "1", 2.5, False, None]))
        lines.append(an_event("ada", number, at, kind, data))
    return Case(yaml_of(grid), with_amounts(draw, lines), end_of(lines, draw(near(HOUR, DAY, 36 * HOUR, 7 * DAY))))
