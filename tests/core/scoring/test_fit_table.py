"""Tables of points in fit rules: which row a lead meets, what a reason says of it, and what is wrong with a table."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.comparison import Partition, text
from tests.kit.examples import examples
from tests.kit.grids import a_grid
from tests.kit.oracle_values import MISSING, condition, is_there
from tests.kit.stories import START, an_event, yaml_of
from worker.core.grid.diff import compare
from worker.core.grid.lint import lint
from worker.core.grid.messages import GridError
from worker.core.grid.models import Grid, grid_schema, parse_grid
from worker.core.grid.report import show_markdown
from worker.core.insight.replay import replay_lines
from worker.core.insight.what_if import Fact, upward
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import unpack

TITLES = {"table": "role", "values": {"CEO": 15, "CMO": 12}, "else": 1}
SIZES = {"table": "company.size", "bands": [[1, -15], [10, 0], [50, 12], [201, 5]]}


def a_fit(points: Any, **more: Any) -> Grid:
    """Return a grid with one fit rule."""
    rule = {"id": "r", "points": points, **more}
    return parse_grid(yaml_of({"grid": "g", "version": 1, "fit": {"rules": [rule]}}), "g.yaml")


def scored(points: Any, traits: dict[str, Any], **more: Any) -> tuple[float, str | None]:
    """Return the fit of a lead with *traits*, and the row that its reason names."""
    lines = [an_event("ada", 1, START, "profile.updated", {"traits": traits})]
    lead = replay_lines(text(lines), a_fit(points, **more), START).leads[0]
    reasons = [one for one in lead["reasons"] if one["kind"] == "fit"]
    assert sum(one["points"] for one in reasons) == lead["fit"]
    return lead["fit"], reasons[0]["row"] if reasons else None


@pytest.mark.parametrize(
    ("points", "traits", "worth", "row"),
    [
        (TITLES, {"role": "CEO"}, 15, "CEO"),
        (TITLES, {"role": "intern"}, 1, "else"),
        (TITLES, {}, 0, None),
        (TITLES, {"role": " "}, 0, None),
        (TITLES, {"role": []}, 0, None),
        (TITLES, {"role": ["intern", "CMO", "CEO"]}, 15, "CEO"),
        (TITLES, {"role": {"now": "CEO"}}, 1, "else"),
        (SIZES, {"company": {"size": 0}}, 0, None),
        (SIZES, {"company.size": 1}, -15, "1"),
        (SIZES, {"company.size": 10}, 0, None),
        (SIZES, {"company.size": 49.9}, 0, None),
        (SIZES, {"company.size": "50"}, 12, "50"),
        (SIZES, {"company.size": 50 - 1e-10}, 0, None),
        (SIZES, {"company.size": 10_000}, 5, "201"),
        (SIZES, {"company.size": [3, 80]}, 12, "50"),
        (SIZES, {"company.size": "many"}, 0, None),
        (SIZES | {"else": -3}, {"company.size": "many"}, -3, "else"),
        (SIZES | {"else": -3}, {}, 0, None),
        ({"table": "email_kind", "values": {"business": 5, "free": -5}}, {"email": "a@gmail.com"}, -5, "free"),
        ({"table": "company.domain", "values": {"www.Müller.example": 7}}, {"company.domain": "xn--mller-kva.example"}, 7, ANY),
        ({"table": "n", "values": {80: 1, "true": 2}}, {"n": "80"}, 1, "80"),
        ({"table": "n", "values": {"80": 1, True: 2}}, {"n": 80}, 0, None),
        ({"table": "n", "values": {"80": 1, True: 2}}, {"n": "80"}, 1, "80"),
        ({"table": "n", "values": {"80": 1, True: 2}}, {"n": True}, 2, "true"),
        ({"table": "n", "values": {"80": 1, True: 2}}, {"n": 1}, 0, None),
        ({"table": "since", "bands": [["2024", 1], ["2026", 2]]}, {"since": "2025-03-01"}, 1, "2024"),
    ],
)
def test_a_lead_gets_the_points_of_its_row(points: Any, traits: dict[str, Any], worth: float, row: str | None) -> None:
    """Keys and floors compare as in `where`. Points of 0 have no reason."""
    found, named = scored(points, traits)
    assert found == worth
    assert named == row


def test_a_where_beside_a_table_must_hold_too() -> None:
    """A table by itself needs none."""
    assert scored(TITLES, {"role": "CEO"}, where={"country": "FR"}) == (0, None)
    assert scored(TITLES, {"role": "CEO", "country": "FR"}, where={"country": "FR"}) == (15, "CEO")


scalars = st.sampled_from(["a", "b", "5", "10", " 7 ", "", 5, 7, 10, 7.5, -1, True, False])
traits = st.one_of(st.none(), scalars, st.lists(st.one_of(scalars, st.none()), max_size=4))
worths = st.sampled_from([-5, -1, 0, 2, 2.5, 9])
keys = st.sampled_from(["a", "b", "5", 5, 7, 10, True])
tables = st.one_of(
    st.lists(st.tuples(keys, worths), min_size=1, max_size=5, unique_by=lambda row: str(row[0])).map(
        lambda rows: {"values": dict(rows)}
    ),
    st.lists(
        st.tuples(st.sampled_from([-2, 0, 5, 7, 7.25, 10]), worths), min_size=1, max_size=5, unique_by=lambda row: row[0]
    ).map(lambda rows: {"bands": sorted(map(list, rows))}),
)


@examples(250)
@given(tables, traits, st.one_of(st.none(), worths))
def test_a_table_says_what_asking_row_by_row_says(table: dict[str, Any], trait: Any, otherwise: Any) -> None:
    """Of values the first row that any element meets counts, of bands the last floor that any element reaches."""
    got = MISSING if trait is None else trait
    rows = [({"eq": key}, worth) for key, worth in table["values"].items()] if "values" in table else []
    rows += [({"gte": floor}, worth) for floor, worth in reversed(table.get("bands", []))]
    wanted = next((worth for asked, worth in rows if condition(asked, got)), otherwise or 0.0) if is_there(got) else 0.0
    points = {"table": "x", **table} | ({} if otherwise is None else {"else": otherwise})
    assert scored(points, {"x": trait, "y": 1})[0] == wanted


# --- the grid --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "path", "hint"),
    [
        ("{table: role}", "points", "one of `values`"),
        ("{table: role, values: {a: 1}, bands: [[1, 1]]}", "points", "one of `values`"),
        ("{values: {a: 1}}", "points", "name the trait"),
        ("{table: 5, values: {a: 1}}", "points.table", "name the trait"),
        ("{table: a..b, values: {a: 1}}", "points.table", "name the trait"),
        ("{table: role, value: {a: 1}, values: {a: 1}}", "points.value", "did you mean 'values'"),
        ("{table: role, values: {}}", "points.values", "values map"),
        ("{table: role, values: {a: x}}", "points.values.a", "write a number"),
        ("{table: role, values: {'': 1}}", "points.values.", "blank"),
        ("{table: role, values: {~: 1}}", "points.values.~", "null equals nothing"),
        ("{table: role, values: {a: 1}, else: x}", "points.else", "write a number"),
        ("{table: size, bands: [50]}", "points.bands[0]", "pair"),
        ("{table: size, bands: [[50, 12], [50, 1]]}", "points.bands", "rise"),
        ("{table: size, bands: [[50, 12], [10, 1]]}", "points.bands", "rise"),
        ("{table: size, bands: [[true, 12]]}", "points.bands[0]", "a number or a string"),
        ("{table: size, bands: [[.inf, 12]]}", "points.bands[0]", "no number"),
        ("{table: size, bands: [[1, 1], ['5', 2]]}", "points.bands", "all numbers, or all texts"),
        ("'5'", "points", "without quotes"),
    ],
)
def test_a_mistake_in_a_table_is_named_where_it_stands(points: str, path: str, hint: str) -> None:
    """And alone."""
    with pytest.raises(GridError) as caught:
        parse_grid(a_grid(fit=f"{{rules: [{{id: r, points: {points}, where: {{a: b}}}}]}}"), "g.yaml")
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.path.startswith(f"fit.rules[0].{path}")) == (3, True), mistake
    assert hint in mistake.message


def test_the_page_the_differences_and_the_lints_know_tables() -> None:
    """Other points are in force at once: nothing is replayed. The greatest row alone may cross a rung."""
    old, new = a_fit(SIZES), a_fit(SIZES | {"else": -2})
    assert "by company.size: from 1 −15, from 10 0, from 50 +12, from 201 +5" in show_markdown(old)
    assert "by role: CEO +15, CMO +12, else +1" in show_markdown(a_fit(TITLES))
    difference = compare(old, new)
    assert [one.path for one in difference.changes] == ["fit.r.points"]
    assert difference.replay == []
    grid = {"grid": "g", "version": 1, "fit": {"rules": [{"id": "r", "points": TITLES}]}, "stages": {"mql": {"enter": 14}}}
    assert [one.path for one in lint(parse_grid(yaml_of(grid), "g.yaml")) if one.code == "one-signal"] == ["fit.rules[0]"]


def test_an_editor_learns_of_tables_from_the_schema() -> None:
    """A number, or an object with its keys."""
    number, table = grid_schema()["$defs"]["FitRule"]["properties"]["points"]["anyOf"]
    assert number == {"type": "number"}
    assert set(table["properties"]) == {"table", "values", "bands", "else"}


def test_what_would_raise_the_fit_is_the_least_row_that_is_enough() -> None:
    """Or else the greatest."""
    sizes = {"table": "company.size", "bands": [[1, 1], [10, 4], [50, 12], [201, 20]]}
    grid = {
        "grid": "g",
        "version": 1,
        "fit": {"rules": [{"id": "r", "points": sizes}]},
        "stages": {"mql": {"enter": 10, "min_fit": 10}},
    }
    lines = [an_event("ada", 1, START, "profile.updated", {"traits": {"company.size": 3}})]
    for enter, floor, adds, enough in ((10, 50, 11, True), (30, 201, 19, False)):
        grid["stages"] = {"mql": {"enter": enter, "min_fit": 10}}
        partition = Partition(yaml_of(grid)).feed(lines)
        packed = partition.states["ada"]
        assert packed is not None
        (fact,) = upward(CompiledGrid(parse_grid(yaml_of(grid), "g.yaml"), "/t"), unpack(packed), START).facts
        assert isinstance(fact, Fact)
        assert (fact.where[-1].value, fact.adds, fact.enough) == (floor, adds, enough)
