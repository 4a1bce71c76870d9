"""`where`: what holds, what does not, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.grid.conditions import WhereError, compile_where, parse_where


def holds(where: Mapping[str, Any], data: Mapping[str, Any], *, flat: bool = False) -> bool:
    """Ask *where*, as written, of *data*."""
    return compile_where(parse_where(where), flat=flat)(data)


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        ("FR", "FR", True),
        ("FR", "fr", False),
        (["FR", "BE"], "BE", True),
        (["FR", "BE"], "CH", False),
        ([1, "1", True], False, False),
        (80, 80.0, True),
        (80, "80", False),
        ("80", 80, False),
        (True, 1, False),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        ({"eq": 1}, 1.0, True),
        ({"in": [True]}, 1, False),
        ({"not": "FR"}, "BE", True),
        ({"not": ["FR", "BE"]}, "BE", False),
        ({"not": 1}, True, True),
        ({"gt": 5}, 5, False),
        ({"gte": 5}, 5, True),
        ({"lt": 5}, 4.9, True),
        ({"lte": 5}, 5.1, False),
        ({"gte": 50, "lte": 200}, 80, True),
        ({"gte": 50, "lte": 200}, 201, False),
        ({"gte": 50}, "80", False),
        ({"gte": "b"}, "c", True),
        ({"gte": "b"}, 99, False),
        ({"gte": 0}, True, False),
        ({"matches": "^dir"}, "director", True),
        ({"matches": "rect"}, "director", True),
        ({"matches": "1"}, 1, False),
        ({"exists": True}, False, True),
        ({"exists": True}, "", True),
        ({"exists": False}, 0, False),
        ("a", ["a"], False),
        (["a"], {"a": 1}, False),
        ({"not": "a"}, ["a"], True),
    ],
)
def test_a_value_is_compared_as_json_compares(where: object, value: object, expected: bool) -> None:
    """`true` is not 1, "80" is not 80, 1 is 1.0; orders need two numbers or two strings."""
    assert holds({"x": where}, {"x": value}) is expected
    assert holds({"x.y": where}, {"x": {"y": value}}) is expected
    assert holds({"x.y": where}, {"x.y": value}, flat=True) is expected


@pytest.mark.parametrize("missing", [{}, {"a": None}, {"a": {"c": 1}}, {"a": {"b": None}}, {"a": "text"}, {"a": [1]}, {"a": 7}])
@pytest.mark.parametrize(
    "where", ["x", 1, True, ["x"], {"not": "x"}, {"gt": 1}, {"lt": "x"}, {"matches": ""}, {"exists": True}, {"eq": False}]
)
def test_a_missing_path_satisfies_only_exists_false(missing: dict[str, Any], where: object) -> None:
    """Also `not`: nothing is known, so nothing is said to differ. `null` is the same as missing."""
    assert not holds({"a.b": where}, missing)
    assert holds({"a.b": {"exists": False}}, missing)


def test_all_paths_must_hold() -> None:
    """A `where` is an and; for an or there is a list, or a second rule."""
    where = {"a": 1, "b": 2, "c": {"exists": False}}
    assert holds(where, {"a": 1, "b": 2})
    assert not holds(where, {"a": 1, "b": 3})
    assert not holds(where, {"a": 1, "b": 2, "c": 3})
    assert not holds({"a": 1, "b": 2}, {"b": 2})


def test_flat_paths_are_not_walked_and_nested_ones_are_not_flat() -> None:
    """Traits are leaves named by their whole path; an event's data is walked."""
    assert not holds({"a.b": 1}, {"a": {"b": 1}}, flat=True)
    assert not holds({"a.b": 1}, {"a.b": 1})


scalars = st.one_of(st.text(max_size=3), st.integers(-3, 3), st.sampled_from([0.0, 1.0, 1.5]), st.booleans())


def same_json(left: object, right: object) -> bool:
    """Equality of JSON, said another way: by the kind of the text, then by the number."""
    if isinstance(left, (bool, str)) or isinstance(right, (bool, str)):
        return json.dumps(left) == json.dumps(right)
    return left == right


@given(st.lists(scalars, min_size=1, max_size=4), scalars)
def test_one_of_and_none_of_are_opposites_on_what_is_there(wanted: list[Any], value: Any) -> None:
    """Whatever the mixture of kinds in the list."""
    expected = any(same_json(one, value) for one in wanted)
    assert holds({"x": wanted}, {"x": value}) is expected
    assert holds({"x": {"not": wanted}}, {"x": value}) is not expected
    assert holds({"x": wanted[0]}, {"x": value}) is same_json(wanted[0], value)


@pytest.mark.parametrize(
    ("where", "place", "hint"),
    [
        ({"a": None}, ("a",), "exists: false"),
        ({"a": {"not": None}}, ("a", "not"), "exists: false"),
        ({"a": ["x", None]}, ("a", 1), "exists: false"),
        ({"a": []}, ("a",), "empty"),
        ({"a": {}}, ("a",), "no operator"),
        ({"a": {"matchs": "x"}}, ("a", "matchs"), "did you mean 'matches'"),
        ({"company": {"size": {"gte": 5}}}, ("company", "size"), "with dots"),
        ({"a": {"matches": "("}}, ("a", "matches"), "does not compile"),
        ({"a": {"matches": 5}}, ("a", "matches"), "regular expression"),
        ({"a": {"in": "x"}}, ("a", "in"), "takes a list"),
        ({"a": {"eq": ["x"]}}, ("a", "eq"), "{in: [..]}"),
        ({"a": {"gte": True}}, ("a", "gte"), "number or a string"),
        ({"a": {"exists": "yes"}}, ("a", "exists"), "true or false"),
        ({"a": {"exists": False, "gt": 1}}, ("a",), "never holds"),
        ({"a": float("nan")}, ("a",), "no number"),
        ({"a..b": 1}, ("a..b",), "no path"),
        ({}, (), "empty"),
        ("a", (), "must map"),
    ],
)
def test_a_where_that_cannot_be_meant_is_refused_with_what_to_write(
    where: object, place: tuple[str | int, ...], hint: str
) -> None:
    """A condition that silently never holds is the worst kind of mistake: the grid seems to work."""
    with pytest.raises(WhereError) as caught:
        parse_where(where)
    ((at, message),) = caught.value.mistakes
    assert at == place
    assert re.search(re.escape(hint), message)


def test_all_mistakes_of_a_where_are_told_at_once() -> None:
    """One run of the check, one repair."""
    with pytest.raises(WhereError) as caught:
        parse_where({"a": None, "b": {"gt": None, "foo": 1}, "c": {"matches": "["}})
    assert [at for at, _ in caught.value.mistakes] == [("a",), ("b", "gt"), ("b", "foo"), ("c", "matches")]
