"""A record as a row, and back: what decodes the same is the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.archives import JSON, NOON_MS, event, tick
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.history.rows import Columns, columns_of, headers_of, value_of
from worker.history.writing import arrow_of

BINARY = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"page.viewed"),
    ("ce_source", b"/site"),
    ("ce_id", b"1"),
    ("ce_subject", b"l-1"),
    ("ce_time", b"2026-03-05T12:00:00Z"),
    ("content-type", b"application/json"),
    ("mine", b"kept"),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSONS: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ENVELOPES = st.fixed_dictionaries(
    {"specversion": st.sampled_from(["1.0", "0.3", None])},
    optional={
        "id": TEXTS,
        "source": TEXTS | st.none() | st.integers(),
        "type": st.sampled_from(["page.viewed", "profile.updated", "custom.x", "", "other"]) | TEXTS,
        "subject": TEXTS | st.none() | st.integers(),
        "time": st.sampled_from(["2026-03-05T12:00:00Z", "2026-03-05T12:00:00.1239+01:00", "yesterday", None, 5]),
        "data": JSONS,
        "sequence": TEXTS | st.none(),
        "datacontenttype": TEXTS | st.integers(),
        "mine": JSONS,
    },
)


def back(record: Record) -> Record:
    """Return *record* as an archive gives it back."""
    columns = columns_of(record)
    return record._replace(value=value_of(columns), headers=headers_of(record.headers, columns))


def outcome(record: Record) -> Any:
    """Return what the worker makes of *record*: an event whole, and of others what they are."""
    found = decode(record)
    return found if isinstance(found, Event) else (type(found), getattr(found, "reason", ""), getattr(found, "type", ""))


@given(ENVELOPES, st.booleans())
def test_any_envelope_decodes_the_same(envelope: dict[str, Any], ascii_only: bool) -> None:
    """Whatever attributes it has or lacks, and whatever is wrong with them."""
    value = json.dumps(envelope, ensure_ascii=ascii_only).encode()
    record = Record("t", 0, 7, NOON_MS, b"k", value, JSON)
    assert outcome(back(record)) == outcome(record)
    assert arrow_of([record]).num_rows == 1


@given(st.binary(max_size=40) | st.none(), st.sampled_from([(), JSON, BINARY, BINARY[:3], (("lp-kind", b"message"),)]))
def test_any_bytes_come_back(value: bytes | None, headers: Any) -> None:
    """What is no event is kept byte for byte."""
    record = Record("t", 0, 7, None, None, value, headers)
    assert outcome(back(record)) == outcome(record)
    if headers not in (BINARY, BINARY[:3]) and not isinstance(decode(record), Event):
        assert (back(record).value or b"") == (value or b"")
    assert arrow_of([record]).num_rows == 1


def test_an_event_is_taken_apart() -> None:
    """People ask for these columns by name."""
    record = event(1, time="2026-03-05T12:00:00.123456Z", sequence="4", data={"url": "/é", "n": 1.50})
    assert columns_of(record) == Columns(
        "page.viewed", "/site", f"{record.topic}-0-1", "l-1", NOON_MS + 123, '{"url": "/é", "n": 1.5}', '{"sequence":"4"}'
    )


def test_an_event_of_binary_mode_becomes_structured() -> None:
    """Its own headers stay."""
    record = Record("t", 0, 7, NOON_MS, b"l-1", b'{"url":"/x"}', BINARY)
    assert isinstance(decode(record), Event)
    assert outcome(back(record)) == outcome(record)
    assert back(record).headers == (("mine", b"kept"),)


@pytest.mark.parametrize(
    "value", [b'{"a":"\\ud800"}', b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":"\xff"}', b"[1"]
)
def test_texts_that_are_none_are_kept_as_bytes(value: bytes) -> None:
    """No column of text takes them."""
    record = Record("t", 0, 7, NOON_MS, b"\xff", value)
    assert columns_of(record).value == value
    assert arrow_of([record]).to_pylist()[0]["value"] == value


def test_records_of_the_journal_have_their_kind_as_type() -> None:
    """A forwarded event is an event."""
    assert columns_of(tick(3, 0, NOON_MS)) == Columns(type="tick", value=b"[%d,{}]" % NOON_MS)
    stray = event(5)._replace(headers=(("lp-kind", b"stray"), ("lp-topic", b"t"), *JSON))
    assert columns_of(stray).type == "page.viewed"
    assert columns_of(stray).subject == "l-1"
