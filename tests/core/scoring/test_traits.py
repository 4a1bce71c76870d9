"""Traits: last writer by event time wins, leaf by leaf, whatever the order of arrival."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.scoring.traits import (
    DEPTH_LIMIT,
    TRAITS_LIMIT_BYTES,
    Traits,
    TraitsRefused,
    leaves,
    pack_traits,
    take,
    unpack_traits,
    values,
)

News = tuple[str, Any, int, str]

paths = st.sampled_from(["a", "a.b", "a.b.c", "a.b.d", "a.e", "ab", "f"])
news = st.lists(st.tuples(paths, st.one_of(st.none(), st.integers(0, 3), st.just("x")), st.integers(1, 6)), max_size=12).map(
    lambda writes: [(path, value, at, f"id{i:02}") for i, (path, value, at) in enumerate(writes)]
)


def taken(writes: list[News]) -> Traits:
    """Take *writes* one by one."""
    traits: Traits = {}
    for path, value, at_ms, event_id in writes:
        take(traits, [(path, value)], at_ms, event_id)
    return traits


def by_the_rule(writes: list[News]) -> dict[str, Any]:
    """A value holds unless something newer was written at its path, above it or below it."""

    def related(one: str, other: str) -> bool:
        return one == other or one.startswith(other + ".") or other.startswith(one + ".")

    return {
        path: value
        for path, value, at_ms, event_id in writes
        if value is not None and not any(related(path, other) and (at, id_) > (at_ms, event_id) for other, _, at, id_ in writes)
    }


@given(news)
def test_a_trait_holds_unless_something_newer_touches_its_path(writes: list[News]) -> None:
    """The rule of the contract, stated over all writes at once."""
    assert values(taken(writes)) == by_the_rule(writes)


@given(news, st.randoms())
def test_the_order_of_arrival_does_not_matter(writes: list[News], rnd: random.Random) -> None:
    """A late profile update changes what it would have changed on time, even where what outdates it was itself replaced."""
    assert taken(rnd.sample(writes, len(writes))) == taken(writes)


@given(news)
def test_traits_survive_packing(writes: list[News]) -> None:
    """Removals too: they still outdate what arrives later."""
    traits = taken(writes)
    assert unpack_traits(pack_traits(traits)) == traits


def test_a_nested_object_and_its_dotted_paths_are_the_same() -> None:
    """Producers write either."""
    assert news_of({"company": {"size": 80, "hq": {"city": "Lyon"}}}) == [("company.size", 80), ("company.hq.city", "Lyon")]
    assert news_of({"company.size": 80, "tags": ["a"], "none": {}}) == [("company.size", 80), ("tags", ["a"])]


def news_of(traits: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the leaves, of which none is refused."""
    found, refused = leaves(traits)
    assert refused == []
    return found


def test_values_are_taken_in_their_one_form() -> None:
    """Two spellings of one domain were two domains, and a blank text was a value."""
    assert news_of({"email": " Ada@ACME.FR ", "company": {"domain": "https://www.Acme.fr/about"}, "role": " \t"}) == [
        ("email", "Ada@acme.fr"),
        ("company.domain", "acme.fr"),
        ("role", ""),
    ]
    assert news_of({"company.domain": ["WWW.acme.fr", 7, " "], "tags": ["a", None, " ", 10**30], "none": []}) == [
        ("company.domain", ["acme.fr", 7]),
        ("tags", ["a", 1e30]),
        ("none", []),
    ]


def test_a_blank_trait_takes_its_place_and_then_reads_as_missing() -> None:
    """As any value does, by event time; an empty list too."""
    early: News = ("role", "cto", 1, "a")
    blank: News = ("role", "", 5, "b")
    assert values(taken([blank, early])) == values(taken([early, blank])) == {}
    assert values(taken([blank, ("role", "ceo", 6, "c")])) == {"role": "ceo"}
    assert values(taken([("company", "", 5, "b"), ("company.size", 80, 1, "a")])) == {}
    assert values(taken([("tags", [], 5, "b"), ("tags", ["x"], 1, "a")])) == {}


@pytest.mark.parametrize("wrong", [["x"] * 65, ["a", {"b": 1}], [["a"]], [None] * 5_000])
def test_a_list_that_no_lead_holds_is_refused_alone(wrong: list[Any]) -> None:
    """And what was there stays."""
    assert leaves({"role": "cto", "company": {"tags": wrong}}) == ([("role", "cto")], ["company.tags"])


def test_states_of_older_versions_are_read_in_the_one_form() -> None:
    """They hold addresses, domains and lists as they came."""
    old = taken(
        [
            ("email", "Ada@ACME.FR", 1, "a"),
            ("company.domain", "WWW.Acme.FR", 1, "a"),
            ("tags", ["x"] * 65, 1, "a"),
            ("role", "  ", 1, "a"),
            ("more", [{"a": 1}], 1, "a"),
        ]
    )
    assert values(unpack_traits(pack_traits(old))) == {"email": "Ada@acme.fr", "company.domain": "acme.fr"}


def test_at_equal_times_the_greater_event_id_wins() -> None:
    """Two updates in one millisecond, in either order."""
    first: News = ("a", 1, 5, "id-1")
    second: News = ("a", 2, 5, "id-2")
    assert values(taken([first, second])) == values(taken([second, first])) == {"a": 2}


def test_traits_past_their_limit_are_refused_whole() -> None:
    """The lead keeps what it had; the event goes to the dead letters."""
    traits = taken([("note", "x" * TRAITS_LIMIT_BYTES, 1, "id")])
    with pytest.raises(TraitsRefused, match="65536 bytes"):
        pack_traits(traits)


def test_traits_nested_too_deep_are_refused() -> None:
    """A hostile document must not cost more than its size."""
    deep: Any = 1
    for _ in range(DEPTH_LIMIT + 1):
        deep = {"a": deep}
    with pytest.raises(TraitsRefused, match="deeper than 16"):
        leaves(deep)
    with pytest.raises(TraitsRefused, match="deeper than 16"):
        leaves({".".join("a" * (DEPTH_LIMIT + 1)): 1})


def test_numbers_past_64_bits_are_kept_as_floats() -> None:
    """The packed state holds no larger whole numbers, and a lead must not become unwritable for one."""
    traits = taken([("n", leaves({"n": 10**30})[0][0][1], 1, "id")])
    assert values(unpack_traits(pack_traits(traits))) == {"n": 1e30}


def test_names_that_would_be_copied_into_every_leaf_are_refused_at_once() -> None:
    """A long name over many leaves would cost their product: seconds and gigabytes for a small record."""
    with pytest.raises(TraitsRefused, match="too long"):
        leaves({"x" * 600: {str(n): 1 for n in range(10_000)}})
    with pytest.raises(TraitsRefused, match="1,000 characters"):
        leaves({"x" * 2_000: 1})
