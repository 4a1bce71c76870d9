"""What all maps share: times that are cut, and people's ids."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.contract.instants import LAST_MS
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import (
    MOST_OBJECTS,
    Unmapped,
    digest,
    email_id,
    iso_ms,
    millis_ms,
    objects_of,
    person,
    seconds_ms,
)


@given(st.integers(0, LAST_MS - 1), st.integers(0, 999_999))
def test_times_are_cut_never_rounded(ms: int, rest: int) -> None:
    """Whatever stands behind the millisecond."""
    assert seconds_ms(f"{ms // 1000}.{ms % 1000:03}{rest:06}") == ms
    assert millis_ms(f"{ms}.{rest:06}") == ms


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [(1.001, 1_001), (1534108637.153125, 1_534_108_637_153), (" 7 ", 7_000), (0, 0), ("1e3", 1_000_000)],
)
def test_seconds_are_numbers_or_texts(seconds: Any, ms: int) -> None:
    """1.001 s as a float is a little less than 1,001 ms."""
    assert seconds_ms(seconds) == ms


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "soon",
        "nan",
        "inf",
        "1e9999",
        "1e999999999",
        10**30,
        -1,
        "-0.001",
        [],
        {},
        LAST_MS,
        "9" * 41,
        float("inf"),
    ],
)
def test_what_is_no_time_from_1970_to_9998_is_none(value: Any) -> None:
    """An exponent is not worked out: the number would fill the memory."""
    assert (seconds_ms(value), iso_ms(value)) == (None, None)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00.0019999Z", 1),
        ("1970-01-01 00:00:01", 1_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00+01:00", None),
        ("9999-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
    ],
)
def test_an_iso_text_is_utc_unless_it_says_otherwise(text: str, ms: int | None) -> None:
    """Cut, and from 1970 to 9998."""
    assert iso_ms(text) == ms


@pytest.mark.parametrize(
    ("crm_id", "address", "subject"),
    [
        ("42", "Ada@Acme.example", "42"),
        (42, None, "42"),
        (" ", " Ada@Acme.example ", "email:ada@acme.example"),
        (True, "Ada@Acme.example", "email:ada@acme.example"),
        (None, "Ada", None),
        (None, 7, None),
    ],
)
def test_a_person_is_the_crm_s_id_or_else_the_address(crm_id: Any, address: Any, subject: str | None) -> None:
    """In lower case, without blanks around it."""
    assert person(crm_id, address) == subject
    assert email_id(address) in (None, "email:ada@acme.example")


def test_a_digest_keeps_parts_apart() -> None:
    """And is the same in every process."""
    assert digest("a", "bc") != digest("ab", "c")
    assert digest("a", 1, None, Decimal(1)) == "8af60fc5437e961ab5e759652523da5e"


def test_a_body_of_countless_objects_is_refused_at_once() -> None:
    """1 MB of empty ones would hold the mapper up for half a minute. They go to the dead webhooks, with the reason."""

    def body(count: int) -> Inbound:
        return Inbound("mailer", "sendgrid", 0, b"[" + b",".join([b"{}"] * count) + b"]")

    assert len(objects_of(body(MOST_OBJECTS))) == MOST_OBJECTS
    with pytest.raises(Unmapped, match="10,001 objects in one body"):
        objects_of(body(MOST_OBJECTS + 1))
