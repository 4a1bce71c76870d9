"""`where`: what holds, what does not, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.core.grid.conditions import WhereError, parse_where
from worker.core.grid.predicates import compile_where


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
        ([1, "b"], "1", True),
        (["1", "b"], 1, False),
        (80, 80.0, True),
        (80, "80", True),
        (80, " 80.0 ", True),
        (-2.5, "-2.5", True),
        (80, "80.", False),
        (80, "+80", False),
        (80, "8e1", False),
        (80, "٨٠", False),
        (1, "0" * 31 + "1", True),
        (1, "0" * 32 + "1", False),
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
        ({"gte": 50}, "80", True),
        ({"gte": 50}, "eighty", False),
        ({"lt": 50}, "", False),
        ({"lt": "b"}, "  ", False),
        ({"not": [80]}, "80", False),
        ({"gte": "b"}, "c", True),
        ({"gte": "b"}, 99, False),
        ({"gte": 0}, True, False),
        ({"matches": "^dir"}, "director", True),
        ({"matches": "rect"}, "director", True),
        ({"matches": "1"}, 1, False),
        ({"exists": True}, False, True),
        ({"exists": True}, "", False),
        ({"exists": True}, " \t", False),
        ({"exists": False}, "\u00a0", True),
        ({"not": "a"}, " ", False),
        ({"matches": "^"}, " ", False),
        ({"exists": False}, 0, False),
        ("a", ["a"], True),
        ("a", ["b", "a"], True),
        (["a", "c"], ["b", "c"], True),
        (80, ["b", "80"], True),
        (["a"], {"a": 1}, False),
        ({"not": "a"}, ["a"], False),
        ({"not": "a"}, ["a", "b"], False),
        ({"not": "a"}, ["b", "c"], True),
        ({"not": "a"}, ["", None, "b"], True),
        ({"not": "a"}, ["", None], False),
        ({"gte": 10, "lte": 20}, [5, 30], False),
        ({"gte": 10, "lte": 20}, [5, 15, 30], True),
        ({"gte": 10, "not": 30}, [15, 30], False),
        ({"exists": True}, [], False),
        ({"exists": True}, [None, " "], False),
        ({"exists": False}, [None, " "], True),
        ({"exists": True}, [0], True),
        ({"exists": False}, [False], False),
        ({"exists": False}, list(range(64)), False),
        (3, list(range(64)), True),
        (3, list(range(65)), False),
        (3, [*range(64), None, ""], True),
        ({"not": 99}, list(range(65)), False),
        ({"exists": False}, list(range(65)), True),
        ("a", ["a", {"b": 1}], False),
        ({"exists": True}, ["a", {}], False),
        ({"exists": True}, ["a", ["b"]], False),
        ({"words": ["growth", "demand gen"]}, "Head of Demand-Gen", True),
        ({"words": "growth"}, ["head", "Growth!"], True),
        ({"words": "growth"}, 7, False),
    ],
)
def test_a_value_is_compared_as_json_compares(where: object, value: object, expected: bool) -> None:
    """`true` is not 1, 1 is 1.0; a text is a number where the grid names a number; a blank text is missing."""
    assert holds({"x": where}, {"x": value}) is expected
    assert holds({"x.y": where}, {"x": {"y": value}}) is expected
    assert holds({"x.y": where}, {"x.y": value}, flat=True) is expected


@pytest.mark.parametrize("missing", [{}, {"a": None}, {"a": {"c": 1}}, {"a": {"b": None}}, {"a": "text"}, {"a": [1]}, {"a": 7}])
@pytest.mark.parametrize(
    "where", ["x", 1, True, ["x"], {"not": "x"}, {"gt": 1}, {"lt": "x"}, {"matches": "^"}, {"exists": True}, {"eq": False}]
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


texts = st.text("a1 .-", max_size=3) | st.sampled_from([" 1 ", "1.0", "-1", "1.5", "true", "\u00a0", "1" * 33])
numbers = st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5])
scalars = st.one_of(texts, numbers, st.booleans())
asked = scalars.filter(lambda one: not isinstance(one, str) or bool(one.strip()))
held = st.none() | scalars | st.lists(st.none() | scalars, max_size=4) | st.just([1] * 65) | st.just([1, {}])


def same(wanted: Any, value: Any) -> bool:
    """Equality, said another way: by the kind of the grid's value, then by its text or number."""
    if isinstance(wanted, (bool, str)) or isinstance(value, bool):
        return json.dumps(wanted) == json.dumps(value)
    if isinstance(value, str):
        return bool(re.fullmatch("-?[0-9]{1,32}([.][0-9]+)?", value.strip())) and float(value) == wanted
    return bool(wanted == value)


def there(value: Any) -> list[Any]:
    """Return the scalars that *value* has, said another way."""
    members = value if isinstance(value, list) else [value]
    if any(isinstance(one, (list, dict)) for one in members):
        return []
    found = [one for one in members if one is not None and str(one).strip()]
    return found if len(found) <= 64 else []


@given(st.lists(asked, min_size=1, max_size=4), held)
@example([1], " 1 ")
@example([1], ["a", "\u00a01"])
@example([1], "1" * 33)
@example(["a"], " ")
@example([1], [1] * 65)
def test_one_of_and_none_of_are_opposites_on_what_is_there(wanted: list[Any], value: Any) -> None:
    """Whatever the mixture of kinds, in the grid's list and in the event's."""
    expected = any(same(one, element) for one in wanted for element in there(value))
    for flat in (False, True):
        assert holds({"x": wanted}, {"x": value}, flat=flat) is expected
        assert holds({"x": {"not": wanted}}, {"x": value}, flat=flat) is (bool(there(value)) and not expected)
        assert holds({"x": wanted[0]}, {"x": value}, flat=flat) is any(same(wanted[0], one) for one in there(value))
        assert holds({"x": {"exists": True}}, {"x": value}, flat=flat) is bool(there(value))
        assert holds({"x": {"exists": False}}, {"x": value}, flat=flat) is (not there(value))


few = st.sampled_from([1, "1", " 2.0", "a", 3, True, "ab"])
OPERATORS_OF_ONE = st.fixed_dictionaries(
    {},
    optional={
        "gt": numbers,
        "lte": numbers,
        "in": st.lists(few, min_size=1, max_size=3),
        "not": few,
        "matches": st.sampled_from(["1", "^a"]),
    },
).filter(bool)


@given(few, st.lists(few, min_size=2, max_size=4))
def test_not_looks_at_every_element_of_a_list(wanted: Any, value: list[Any]) -> None:
    """One competitor among the tags is enough."""
    assert holds({"x": {"not": wanted}}, {"x": value}) is not any(same(wanted, one) for one in value)


@given(OPERATORS_OF_ONE, st.lists(few | st.none(), max_size=4) | held)
def test_one_element_meets_all_operators(where: dict[str, Any], value: Any) -> None:
    """A list holds if one element alone would, but for `not`: then no element may be among the values."""
    of_one = {op: operand for op, operand in where.items() if op != "not"}
    found = there(value)
    expected = (not of_one or any(holds({"x": of_one}, {"x": one}) for one in found)) and (
        "not" not in where or not any(same(where["not"], one) for one in found)
    )
    assert holds({"x": where}, {"x": value}) is (bool(found) and expected)


@pytest.mark.parametrize(
    ("data", "there"),
    [
        ({"fields": {"a": ""}}, False),
        ({"fields": {"a": {"b": [None]}}}, False),
        ({"fields": {"a": {"b": 0}}}, True),
        ({"fields": {}}, False),
        ({"fields": {"a": [1] * 65}}, False),
    ],
)
def test_an_object_exists_if_something_below_it_does(data: dict[str, Any], there: bool) -> None:
    """And equals nothing: so a path above an object's leaves says that something is known of it."""
    assert holds({"fields": {"exists": True}}, data) is there
    assert holds({"fields": {"exists": False}}, data) is not there
    assert holds({"fields": {"not": "x"}}, data) is there
    assert not holds({"fields": {"matches": "."}}, data)
    (leaf,) = data["fields"].items() or [("none", None)]
    if not isinstance(leaf[1], dict):
        traits = {f"fields.{leaf[0]}": leaf[1], "fieldsother": 1}
        assert holds({"fields": {"exists": True}}, traits, flat=True) is there
        assert holds({"fields": {"exists": False}}, traits, flat=True) is not there
        assert holds({"fields": {"not": "x"}}, traits, flat=True) is there
        assert not holds({"fields": "x"}, traits, flat=True)


@pytest.mark.parametrize(
    ("where", "place", "hint"),
    [
        ({"a": ""}, ("a",), "exists: false"),
        ({"a": ["x", " "]}, ("a", 1), "exists: false"),
        ({"a": {"not": ""}}, ("a", "not"), "exists: false"),
        ({"a": {"gte": " "}}, ("a", "gte"), "exists: false"),
        ({"a": {"matches": " "}}, ("a", "matches"), "'\\s'"),
        ({"a": {"words": []}}, ("a", "words"), "empty"),
        ({"a": {"words": ["x", "&_"]}}, ("a", "words", 1), "letter or digit"),
        ({"a": {"words": " "}}, ("a", "words"), "letter or digit"),
        ({"a": {"words": 7}}, ("a", "words"), "takes words"),
        ({"a": {"contains": "x"}}, ("a", "contains"), "words: [..]"),
        ({"a": {"or": ["x"]}}, ("a", "or"), "write a list"),
        ({"a": {"and": ["x"]}}, ("a", "and"), "side by side"),
        ({"or": [{"a": 1}, {"b": 2}]}, ("or",), "two rules"),
        ({"All": [{"a": 1}, {"b": 2}]}, ("All",), "side by side"),
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
