"""The decoder: it answers to any bytes, agrees with the models, and its short way agrees with its long way."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import INPUTS, read_input
from schemas import envelope as contract
from schemas.inputs import InputData
from tests.kit.examples import examples
from worker.core.contract import codec
from worker.core.contract.codec import MAX_BYTES, REASONS, decode
from worker.core.contract.codec_words import MAX_DEPTH
from worker.core.contract.event_types import CUSTOM, DATA_FIELDS, KNOWN_TYPES, row_of
from worker.core.contract.instants import LAST_MS, MAX_AHEAD_MS, NO_STAMP_MS
from worker.core.contract.model import Decoded, Event, Headers, Record, Rejected, Tombstone, Unknown

AT = "2026-03-05T12:34:56.789Z"
AT_MS = 1_772_714_096_789
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TYPES = sorted({*KNOWN_TYPES, "custom.trade_show"})
DECIMALS = ["1", "-2.5", " 15 ", "", "  ", "+1", "1.", ".5", "1e3", "--1", "1 2", "٣", "0" * 32, "0" * 33, "1\n2", "NaN"]
IDS = ("session_id", "message_id", "webinar_id", "campaign_id", "form_id", "content_id")
ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time")


def record(value: bytes | None, headers: Headers = (), timestamp_ms: int | None = None) -> Record:
    """Return a record with coordinates that a test can recognize."""
    return Record("lead.events.web", 3, 1291, timestamp_ms, b"lead-1", value, headers)


def envelope(**changes: Any) -> dict[str, Any]:
    """Return a valid page view, changed; a change to `...` removes the attribute."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/web",
        "type": "page.viewed",
        "subject": "lead-1",
        "time": AT,
        "data": {"url": "/pricing"},
    }
    return {name: value for name, value in (event | changes).items() if value is not ...}


def structured(event: Any) -> bytes:
    """Return *event* as a record's value."""
    return json.dumps(event, ensure_ascii=False).encode()


def decoded(**changes: Any) -> Decoded:
    """Decode a page view with changes."""
    return decode(record(structured(envelope(**changes))))


def rejected(value: bytes | None, headers: Headers = ()) -> tuple[str, str]:
    """Return why *value* is rejected, having seen that it is."""
    answer = decode(record(value, headers))
    assert isinstance(answer, Rejected), answer
    assert answer.record == record(value, headers)
    assert answer.reason in REASONS
    return answer.reason, answer.detail


def binary(event: dict[str, Any]) -> tuple[bytes | None, Headers]:
    """Return the same event in binary mode."""
    value = structured(event["data"]) if "data" in event else None
    headers = tuple((f"ce_{name}", str(event[name]).encode()) for name in ATTRIBUTES if name in event)
    return value, (("content-type", b"application/json"), *headers)


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_an_event_carries_what_was_sent_and_where() -> None:
    """Every field of `Event`, from the record and from the envelope."""
    data = {"url": "/pricing", "duration_s": 4, "machine": True, "own": {"deep": [1, None]}}
    assert decoded(data=data, traceparent="00-1", ownattribute=5) == Event(
        lead="lead-1",
        type="page.viewed",
        at_ms=AT_MS,
        id="e-1",
        source="/web",
        data=data,
        machine=True,
        topic="lead.events.web",
        partition=3,
        offset=1291,
    )


@pytest.mark.parametrize("event_type", TYPES)
def test_binary_mode_says_the_same_as_structured_mode(event_type: str) -> None:
    """A producer chooses the mode; the score does not depend on it."""
    data: dict[str, Any] = {
        "url": "/",
        "message_id": "m",
        "webinar_id": "w",
        "traits": {"role": "CTO"},
        "anonymous_id": "v",
        "machine": False,
        "points": "2.5",
    }
    event = envelope(type=event_type, data=data)
    assert isinstance(decode(record(structured(event))), Event)
    assert decode(record(*binary(event))) == decode(record(structured(event)))


@pytest.mark.parametrize("value", [None, b"", b"null"])
def test_binary_mode_needs_no_value(value: bytes | None) -> None:
    """Nothing and null are no data; a type with a required field then lacks it."""
    _, headers = binary(envelope(type="crm.accepted", data=...))
    answer = decode(record(value, headers))
    assert isinstance(answer, Event)
    assert answer.data == {}
    _, headers = binary(envelope(data=...))
    assert rejected(value, headers)[0] == "bad_data"


def test_a_cloudevents_content_type_means_structured_whatever_the_headers() -> None:
    """Some clients copy the attributes into headers as well; the value is then the event."""
    headers: Headers = (("ce_specversion", b"1.0"), ("Content-Type", b"Application/CloudEvents+JSON; charset=UTF-8"))
    assert isinstance(decode(record(structured(envelope()), headers)), Event)
    assert rejected(structured(envelope()), headers[:1])[0] == "bad_envelope"


def test_an_unknown_type_is_no_error_whatever_its_data() -> None:
    """Other teams' events share the topics; in binary mode their values need not even be JSON."""
    anything: list[Any] = [..., None, [], 5, {"traits": 5}]
    for data in anything:
        assert decoded(type="invoice.paid", data=data) == Unknown("invoice.paid", "lead-1")
    assert decode(record(b"\x00avro", binary(envelope(type="invoice.paid"))[1])) == Unknown("invoice.paid", "lead-1")


def test_an_unknown_type_still_needs_its_envelope() -> None:
    """What names no lead and no time is no event of anybody's."""
    assert rejected(structured(envelope(type="invoice.paid", subject="")))[0] == "no_subject"


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "at_ms"),
    [
        (AT, AT_MS),
        ("2026-03-05T12:34:56Z", AT_MS - 789),
        ("2026-03-05t12:34:56.789z", AT_MS),
        ("2026-03-05T13:34:56.789+01:00", AT_MS),
        ("2026-03-05T00:34:56.789-12:00", AT_MS),
        ("2026-03-05T12:34:56.7Z", AT_MS - 89),
        ("2026-03-05T12:34:56.789999Z", AT_MS),
        ("2026-03-05T12:34:56.789999999999Z", AT_MS),
        ("2026-03-05T12:34:56.7899999+00:00", AT_MS),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("2024-02-29T00:00:00.001Z", 1_709_164_800_001),
        ("9998-12-31T23:59:59.999Z", LAST_MS - 1),
    ],
)
def test_time_is_floored_to_milliseconds(time: str, at_ms: int) -> None:
    """Never rounded: an instant must not pass into the next millisecond, second or day."""
    answer = decoded(time=time)
    assert isinstance(answer, Event)
    assert answer.at_ms == at_ms


@pytest.mark.parametrize(
    "time",
    [
        ...,
        None,
        "",
        "Z",
        "now",
        1772714096,
        "2026-03-05",
        "2026-03-05T12:34:56",
        "2026-03-05 12:34:56Z",
        "2026-03-05T12:34Z",
        "2026-03-05T12:34:56+0100",
        "2026-03-05T12:34:56+01",
        "2026-03-05T12:34:56+24:00",
        "2026-03-05T12:34:56,789Z",
        "2026-03-05T12:34:56.Z",
        "2026-03-05T24:00:00Z",
        "2026-12-31T23:59:60Z",
        "2026-02-29T00:00:00Z",
        "2026-W10-4T12:34:56Z",
        "20260305T123456Z",
        "2026-03-05T12:34:56Z\n",
        "２０２６-03-05T12:34:56Z",
        "2026-03-05T12:34:5６Z",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00+00:01",
        "0001-01-01T00:00:00+23:59",
        "9999-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_what_is_no_rfc3339_instant_is_refused(time: Any) -> None:
    """Also what other readers let pass, and the zero time of some languages, which would be an event of the year 1."""
    reason, detail = rejected(structured(envelope(time=time)))
    assert reason == "bad_time"
    assert detail.startswith("time: ")


@given(
    st.timedeltas(timedelta(0), datetime(9998, 12, 29, tzinfo=UTC) - EPOCH),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_any_time_is_read_as_the_standard_library_reads_it(since: timedelta, minutes: int) -> None:
    """The looked-up parts against `datetime`'s own arithmetic."""
    at = (EPOCH + since).astimezone(timezone(timedelta(minutes=minutes)))
    expected = since // timedelta(milliseconds=1)
    in_utc = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
    for text in (at.isoformat(), at.isoformat(timespec="microseconds"), in_utc):
        answer = decoded(time=text)
        assert isinstance(answer, Event)
        assert answer.at_ms == expected


@pytest.mark.parametrize(
    ("timestamp_ms", "fetched_ms", "at_ms"),
    [
        (None, AT_MS - MAX_AHEAD_MS, AT_MS),
        (None, AT_MS - MAX_AHEAD_MS - 1, AT_MS - MAX_AHEAD_MS - 1),
        (-1, AT_MS - 10**9, AT_MS - 10**9),
        (5, AT_MS - 10**9, AT_MS - 10**9),
        (2**63 - 1, AT_MS - 10**9, AT_MS - 10**9),
        (AT_MS - 10**9, AT_MS - 10**9 + 1, AT_MS - 10**9),
        (AT_MS - 1, AT_MS + 10**9, AT_MS),
    ],
)
def test_the_time_of_the_fetch_holds_what_no_timestamp_does(timestamp_ms: int | None, fetched_ms: int, at_ms: int) -> None:
    """One event of the year 9998 held its lead there for good: nothing that came later was later."""
    for value, headers in ((structured(envelope()), ()), binary(envelope()), (structured(envelope(own=1)), ())):
        answer = decode(record(value, headers, timestamp_ms), fetched_ms)
        assert isinstance(answer, Event)
        assert answer.at_ms == at_ms


@pytest.mark.parametrize(
    ("timestamp_ms", "at_ms"),
    [
        (None, AT_MS),
        (-1, AT_MS),
        (0, AT_MS),
        (NO_STAMP_MS - 1, AT_MS),
        (NO_STAMP_MS, NO_STAMP_MS),
        (AT_MS - MAX_AHEAD_MS, AT_MS),
        (AT_MS - MAX_AHEAD_MS - 1, AT_MS - MAX_AHEAD_MS - 1),
        (AT_MS + 10**9, AT_MS),
        (2**63 - 1, AT_MS),
    ],
)
def test_time_is_held_to_the_records_timestamp(timestamp_ms: int | None, at_ms: int) -> None:
    """A producer whose clock runs ahead cannot put a lead's clock into next year; -1, or the year 1970, is no timestamp."""
    for value, headers in ((structured(envelope()), ()), binary(envelope()), (structured(envelope(own=1)), ())):
        answer = decode(record(value, headers, timestamp_ms))
        assert isinstance(answer, Event)
        assert answer.at_ms == at_ms


def test_a_time_beyond_the_calendar_is_held_before_it_is_refused() -> None:
    """`never` as 9999-12-31 is far ahead of its record, and so is taken as the record's timestamp."""
    never = structured(envelope(time="9999-12-31T23:59:59Z"))
    answer = decode(record(never, timestamp_ms=AT_MS))
    assert isinstance(answer, Event)
    assert answer.at_ms == AT_MS
    assert rejected(never)[0] == "bad_time"


def test_data_in_base64_is_the_same_data() -> None:
    """CloudEvents' JSON format allows it, and libraries choose it where they hold bytes."""
    data = {"url": "/preise-für-teams", "duration_s": 4}
    encoded = base64.b64encode(json.dumps(data).encode()).decode()
    for content_type in (..., None, "application/json", "Application/JSON; charset=utf-8", "application/vnd.page+json"):
        assert decoded(data=..., data_base64=encoded, datacontenttype=content_type) == decoded(data=data)


def test_the_kafka_timestamp_stands_in_for_an_absent_time() -> None:
    """A producer without a clock of its own loses no event. A record without a usable timestamp has no instant."""
    without = structured(envelope(time=...))
    assert decode(record(without, (), AT_MS)) == decoded()
    assert decode(record(structured(envelope(time=None)), (), AT_MS)) == decoded()
    value, headers = binary(envelope(time=...))
    assert decode(record(value, headers, AT_MS)) == decoded()
    late = decode(record(without, (), AT_MS + MAX_AHEAD_MS + 1), AT_MS)
    assert isinstance(late, Event)
    assert late.at_ms == AT_MS, "no fetched event happened after the fetch"
    for stamp in (None, -1, 0, NO_STAMP_MS - 1, LAST_MS):
        answer = decode(record(without, (), stamp))
        assert isinstance(answer, Rejected)
        assert answer.reason == "bad_time"
        assert "Kafka timestamp" in answer.detail


def test_a_tombstone_is_no_bad_record() -> None:
    """A compacted topic holds them. A record of no bytes is another thing, and so is data that is absent in binary mode."""
    assert decode(record(None)) == Tombstone()
    assert decode(record(None, (("traceparent", b"00-1"),))) == Tombstone()
    assert rejected(b"")[0] == "empty"
    assert isinstance(decode(record(None, binary(envelope(type="demo.requested", data=...))[1])), Event)


@pytest.mark.parametrize("name", ["ce-specversion", "CE-SpecVersion", "Ce_specversion"])
@pytest.mark.parametrize("value", [b'{"url": "/"}', b"{}", b"[]", b"", None])
def test_binary_mode_by_another_transport_s_names_is_named(name: str, value: bytes | None) -> None:
    """HTTP's header names over Kafka: the reason says so, where the value seemed to lack everything."""
    reason, detail = rejected(value, ((name, b"1.0"), ("ce-id", b"e-1")))
    assert reason in ("bad_envelope", "not_an_object")
    if value != b"[]":
        assert f"header {name}: expected ce_specversion" in detail


# --- why it is refused ------------------------------------------------------------------------------------------------


def nested(levels: int) -> Any:
    """Return lists within lists."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


REFUSED: list[tuple[str, bytes | None, str, str]] = [
    ("no bytes", b"", "empty", "value"),
    ("one byte too long", b" " * (MAX_BYTES + 1), "too_large", "900,001"),
    ("blanks", b"  ", "not_json", "value"),
    ("half an object", b'{"id":', "not_json", "value"),
    ("two objects", b"{}{}", "not_json", "trailing"),
    ("NaN", structured(envelope(data={"url": "/", "x": math.nan})), "not_json", "value"),
    ("Infinity", structured(envelope(data={"url": "/", "x": -math.inf})), "not_json", "value"),
    ("not UTF-8", structured(envelope()).replace(b"lead-1", b"lead-\xff"), "not_json", "not UTF-8"),
    ("not UTF-8 where nobody looks", structured(envelope(own="?")).replace(b"?", b"\xe9"), "not_json", "not UTF-8"),
    ("half a surrogate pair", structured(envelope()).replace(b"lead-1", b"\\ud800"), "not_json", "value"),
    ("half a pair where nobody looks", structured(envelope(own="?")).replace(b"?", b"\\udc00 "), "not_json", "value"),
    ("a byte order mark", b"\xef\xbb\xbf" + structured(envelope()), "not_json", "byte order mark"),
    ("UTF-16", json.dumps(envelope()).encode("utf-16"), "not_json", "not UTF-8"),
    ("beyond a double", structured(envelope(data={"url": "/", "x": "?"})).replace(b'"?"', b"1e999"), "bad_number", "double"),
    ("beyond 64 bits", structured(envelope(data={"url": "/", "x": {"y": 2**64}})), "bad_number", "data.x"),
    ("beyond 64 bits below", structured(envelope(data={"url": "/", "x": [-(2**63) - 1]})), "bad_number", "data.x"),
    ("a duration beyond 64 bits", structured(envelope(data={"url": "/", "duration_s": 2**70})), "bad_number", "duration_s"),
    ("a number too long to read", structured(envelope(own="?")).replace(b'"?"', b"9" * 9000), "bad_number", "out of range"),
    ("an attribute beyond 64 bits", structured(envelope(own=2**64)), "bad_number", "own"),
    ("lists without end", structured(envelope(data={"x": "?"})).replace(b'"?"', b"[" * 100_000), "too_deep", "levels"),
    ("one list too many", structured(envelope(data={"url": "/", "x": nested(MAX_DEPTH)})), "too_deep", "data.x"),
    ("one list too many, unknown type", structured(envelope(type="x", data=nested(MAX_DEPTH + 1))), "too_deep", "data"),
    ("a list", b"[]", "not_an_object", "a list"),
    ("a string", b'"event"', "not_an_object", "event"),
    ("not a CloudEvent", b"{}", "bad_envelope", "specversion"),
    ("another version", structured(envelope(specversion="0.3")), "bad_envelope", "0.3"),
    ("a version that is a number", structured(envelope(specversion=1.0)), "bad_envelope", "number 1.0"),
    ("no id", structured(envelope(id=...)), "bad_envelope", "id: missing"),
    ("an id that is a number", structured(envelope(id=12)), "bad_envelope", "id: the number 12"),
    ("an empty source", structured(envelope(source="")), "bad_envelope", "source: an empty string"),
    ("a null type", structured(envelope(type=None)), "bad_envelope", "type"),
    ("no subject", structured(envelope(subject=...)), "no_subject", "subject"),
    ("an empty subject", structured(envelope(subject="")), "no_subject", "subject"),
    ("a subject that is a number", structured(envelope(subject=48213)), "no_subject", "48213"),
    ("data that is a list", structured(envelope(data=[{"url": "/"}])), "bad_data", "a list of 1"),
    ("data as bytes, too", structured(envelope(data_base64="e30=")), "bad_data", "one of the two"),
    ("bytes that are no base64", structured(envelope(data=..., data_base64="{}")), "bad_data", "JSON in base64"),
    ("bytes as a number", structured(envelope(data=..., data_base64=5)), "bad_data", "the number 5"),
    ("bytes of no JSON", structured(envelope(data=..., data_base64="AAEC")), "not_json", "data_base64"),
    ("bytes of a list", structured(envelope(data=..., data_base64="W10=")), "bad_data", "a list of 0"),
    (
        "bytes of another format",
        structured(envelope(data=..., data_base64="e30=", datacontenttype="application/xml")),
        "bad_data",
        "datacontenttype",
    ),
    ("a required field that is missing", structured(envelope(data={})), "bad_data", "data.url: missing or null"),
    ("a required field that is null", structured(envelope(data={"url": None})), "bad_data", "data.url: missing or null"),
    ("a number as text", structured(envelope(data={"url": "/", "duration_s": "12"})), "bad_data", 'the string "12"'),
    ("a boolean as a number", structured(envelope(data={"url": "/", "duration_s": True})), "bad_data", "the boolean true"),
    ("less than 0", structured(envelope(data={"url": "/", "duration_s": -0.5})), "bad_data", "at least 0"),
    ("less than 0, whole", structured(envelope(data={"url": "/", "duration_s": -5})), "bad_data", "at least 0"),
    ("text as a number", structured(envelope(data={"url": 12})), "bad_data", "data.url: the number 12"),
    ("a list for an object", structured(envelope(data={"url": "/", "utm": ["ads"]})), "bad_data", "a list of 1"),
    ("machine as text", structured(envelope(data={"url": "/", "machine": "true"})), "bad_data", "true or false"),
    ("machine as a number", structured(envelope(data={"url": "/", "machine": 1})), "bad_data", "true or false"),
    (
        "a share above 1",
        structured(envelope(type="webinar.attended", data={"webinar_id": "w", "share": 84})),
        "bad_data",
        "0 to 1",
    ),
    ("points as a word", structured(envelope(type="score.adjusted", data={"points": "many"})), "bad_data", "decimal text"),
    ("points with an exponent", structured(envelope(type="score.adjusted", data={"points": "1e3"})), "bad_data", '"-2.5"'),
    ("points as a boolean", structured(envelope(type="score.adjusted", data={"points": True})), "bad_data", "the boolean true"),
    ("no points", structured(envelope(type="score.adjusted", data={"by": "grace"})), "bad_data", "data.points: missing"),
]


@pytest.mark.parametrize(("value", "reason", "told"), [pytest.param(*rest, id=name) for name, *rest in REFUSED])
def test_a_refusal_says_what_is_wrong_and_where(value: bytes | None, reason: str, told: str) -> None:
    """The code is for a metric, the detail for the person who mends the producer."""
    found, detail = rejected(value)
    assert (found, told in detail) == (reason, True), detail


def test_bounds_are_told_alike_in_both_forms_of_the_core() -> None:
    """Compiled, whole bounds are floats; a dead letter must not say which form refused the record."""
    share = rejected(structured(envelope(type="webinar.attended", data={"webinar_id": "w", "share": 84})))
    assert share == ("bad_data", "data.share: the number 84; expected a number from 0 to 1")
    assert rejected(structured(envelope(data={"url": "/", "duration_s": -5})))[1].endswith("; expected a number of at least 0")


def test_every_reason_is_seen_above() -> None:
    """The set is closed both ways: no code is documented that cannot occur."""
    assert {reason for _, _, reason, _ in REFUSED} | {"bad_time"} == set(REASONS)


def test_a_value_of_the_longest_size_is_read() -> None:
    """900,000 bytes are in, as the contract says; one more is out."""
    short = structured(envelope(data={"url": ""}))
    value = structured(envelope(data={"url": "x" * (MAX_BYTES - len(short))}))
    assert len(value) == MAX_BYTES
    assert isinstance(decode(record(value)), Event)


def test_the_deepest_allowed_nesting_and_the_largest_numbers_are_read() -> None:
    """The limits themselves are in."""
    data = {"url": "/", "deep": nested(MAX_DEPTH - 1), "most": 2**64 - 1, "least": -(2**63), "double": 1.7e308}
    answer = decoded(data=data)
    assert isinstance(answer, Event)
    assert answer.data == data


@pytest.mark.parametrize("name", IDS)
def test_an_id_may_be_an_integer_and_is_its_text(name: str) -> None:
    """Many databases number what they send; a rule must meet `12` and `"12"` alike. Other types may have the field too."""
    for event_type in ("page.viewed", "email.opened", "webinar.attended", "form.submitted", "crm.won"):
        data: dict[str, Any] = {"url": "/", "message_id": "m", "webinar_id": "w", name: 12, "own": 12}
        answer = decoded(type=event_type, data=data)
        assert isinstance(answer, Event), answer
        assert answer.data == data | {name: "12"}
    for wrong in (12.0, True, [12], {"id": 12}):
        for event_type in [one for one, fields in DATA_FIELDS.items() if name in fields]:
            answer = decoded(type=event_type, data={"url": "/", "message_id": "m", "webinar_id": "w", name: wrong})
            assert isinstance(answer, Rejected)
            assert (answer.reason, f"data.{name}: " in answer.detail) == ("bad_data", True)
            assert answer.detail.endswith("expected a string or an integer")


def test_a_required_field_may_be_blank() -> None:
    """Then it is a missing value to the rules."""
    for event_type, data in (
        ("page.viewed", {"url": ""}),
        ("email.opened", {"message_id": " "}),
        ("lead.identified", {"anonymous_id": ""}),
    ):
        assert isinstance(decoded(type=event_type, data=data), Event)


def test_binary_headers_that_are_not_utf8_are_refused() -> None:
    """With the header's name, so that the producer finds it."""
    value, headers = binary(envelope())
    for attribute, reason in (
        ("subject", "no_subject"),
        ("time", "bad_time"),
        ("id", "bad_envelope"),
        ("type", "bad_envelope"),
    ):
        broken = tuple((name, b"\xff" if name == f"ce_{attribute}" else held) for name, held in headers)
        assert rejected(value, broken) == (reason, f"header ce_{attribute}: bytes that are not UTF-8; expected a string")


def test_a_refusal_does_not_repeat_a_personal_payload() -> None:
    """Details go to logs and headers; the payload itself goes to `lead.dead` alone."""
    private = "private " * 200
    for event in (
        envelope(time=private),
        envelope(specversion=private),
        envelope(data={"url": "/", "duration_s": private}),
        envelope(data={"url": "/", "utm": [private]}),
        envelope(data={"url": {"private": private}}),
        envelope(data=private),
        envelope(data={"url": "/", private: 2**64}),
    ):
        _, detail = rejected(structured(event))
        assert len(detail) < 300
        assert detail.count("private") < 20


# --- equal to the models ----------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.sampled_from([0, -0.0, 1, -1, 0.5, 1.0000001, True, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400, 1e308]),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.sampled_from(["", "12", "true", "é"]))
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def right(kind: type) -> st.SearchStrategy[Any]:
    """Return values that a field of *kind* mostly takes."""
    by_kind: dict[type, st.SearchStrategy[Any]] = {
        str: st.text(max_size=5),
        float: NUMBERS | st.floats(0, 1),
        bool: st.booleans(),
        dict: st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    }
    return by_kind[kind]


@st.composite
def data_of(draw: st.DrawFn, event_type: str) -> Any:
    """Return `data` for *event_type*: mostly right, so that acceptance is tested as often as refusal."""
    if draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    data: dict[str, Any] = {}
    for name, field in DATA_FIELDS[row_of(event_type) or ""].items():
        choice = draw(st.integers(0, 11))
        if choice == 0:
            data[name] = draw(JSON)
        elif choice > 4 or (field.required and choice > 1):
            other = st.sampled_from(DECIMALS) if field.decimal else NUMBERS
            data[name] = draw(other if (field.decimal or field.or_integer) and choice > 6 else right(field.kind))
    if draw(st.booleans()):
        data[draw(st.sampled_from(["url", "share", "amount", "own", "traits", "type", "data"]))] = draw(JSON)
    return data


@st.composite
def envelopes(draw: st.DrawFn) -> dict[str, Any]:
    """Return an event of a known type with at most one attribute wrong."""
    event_type = draw(st.sampled_from(TYPES))
    if event_type == "custom.trade_show" and draw(st.booleans()):
        event_type = "custom" + draw(st.from_regex(r"\A\.?[A-Za-z0-9_.*]{0,66}\Z") | st.sampled_from(["", ".", ".a\n", ".é"]))
    event = envelope(type=event_type, id=draw(st.text(min_size=1)), subject=draw(st.text(min_size=1)))
    event["data"] = draw(data_of(event_type if row_of(event_type) else "custom.trade_show"))
    match draw(st.integers(0, 19)):
        case 0:
            event[draw(st.sampled_from([*ATTRIBUTES, "data_base64", "own", "datacontenttype"]))] = draw(JSON)
        case 1:
            del event[draw(st.sampled_from([*ATTRIBUTES, "data"]))]
        case 2:
            event["time"] = draw(st.sampled_from(["2026-03-05T12:34:56", "2026-03-05t12:34:56.1z", "0001-01-01T00:00:00Z"]))
        case _:
            pass
    return event


def model_takes(event: dict[str, Any]) -> bool:
    """Whether the pydantic models accept *event*."""
    try:
        read_input(json.dumps(event))
    except ValidationError:
        return False
    return True


def as_read(data: dict[str, Any]) -> dict[str, Any]:
    """Return *data* with the text of each id that is an integer."""
    return {name: str(value) if name in IDS and type(value) is int else value for name, value in data.items()}


EQUAL = examples(1_000)
ANYTHING = examples(300)


@EQUAL
@given(envelopes())
@example(envelope(data={"url": "/", "x": nested(MAX_DEPTH - 1)}))
@example(envelope(data={"url": "/", "x": nested(MAX_DEPTH)}))
@example(envelope(own=nested(MAX_DEPTH)))
@example(envelope(own=nested(MAX_DEPTH + 1)))
@example(envelope(data={"url": "/", "x": nested(150)}))
@example(envelope(type="lead.erased", data=None))
@example(envelope(type="lead.erased", data={"machine": 0}))
@example(envelope(type="webinar.attended", data={"webinar_id": "w", "share": 1, "minutes": 0}))
@example(envelope(data={"url": "/", "duration_s": 2**64}))
@example(envelope(data=..., data_base64="eyJ1cmwiOiIvIn0="))
@example(envelope(data=..., data_base64="eyJ1cmwiOiIvIn0=", datacontenttype="text/plain"))
@example(envelope(time=None))
def test_the_codec_takes_exactly_what_the_models_take(event: dict[str, Any]) -> None:
    """The models are the contract, the codec is its fast twin: neither may drift."""
    answer = decode(record(json.dumps(event).encode(), timestamp_ms=LAST_MS - 1))
    assert isinstance(answer, Event) == model_takes(event), answer
    if isinstance(answer, Event) and event.get("data_base64") is None:
        assert (answer.lead, answer.id, answer.data) == (event["subject"], event["id"], as_read(event.get("data") or {}))


@EQUAL
@given(envelopes())
def test_the_codec_takes_in_binary_mode_what_the_models_take(event: dict[str, Any]) -> None:
    """An attribute is text in a header, and absent when empty; the rest is the same event."""
    event = {name: value for name, value in event.items() if name in (*ATTRIBUTES, "data")}
    for name in ATTRIBUTES:
        if name in event:
            event[name] = str(event[name])
    event = {name: value for name, value in event.items() if name == "data" or value}
    value, headers = binary(event)
    answer = decode(record(value, headers, LAST_MS - 1))
    assert isinstance(answer, Event) == model_takes(event), answer
    if isinstance(answer, Event):
        assert answer == decode(record(structured(event), (), LAST_MS - 1))


@pytest.mark.parametrize("event_type", DATA_FIELDS)
def test_the_table_names_the_fields_of_the_models(event_type: str) -> None:
    """A field added on one side alone is found here, by name, before the properties find it by luck."""
    annotation: Any = INPUTS[event_type].model_fields["data"].annotation
    model: type[InputData] = next(kind for kind in getattr(annotation, "__args__", (annotation,)) if kind is not type(None))
    assert {name: field.required for name, field in DATA_FIELDS[event_type].items()} == {
        name: field.is_required() for name, field in model.model_fields.items()
    }


def test_both_sides_know_the_same_types_and_limits() -> None:
    """The numbers that both sides name."""
    assert set(INPUTS) == KNOWN_TYPES | {CUSTOM}
    assert (contract.MAX_BYTES, contract.MAX_DEPTH) == (MAX_BYTES, MAX_DEPTH)


# --- any bytes at all -------------------------------------------------------------------------------------------------


def mangled(value: bytes, draw: st.DrawFn) -> bytes:
    """Return *value* with a few bytes cut, doubled or replaced."""
    for _ in range(draw(st.integers(0, 3))):
        at, length = draw(st.integers(0, len(value))), draw(st.integers(0, 5))
        value = (
            value[:at]
            + draw(st.binary(max_size=4) | st.sampled_from([b"\\ud800", b"[", b'"', b"1e999"]))
            + value[at + length :]
        )
    return value


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Return anything that Kafka could hold, mostly close to an event."""
    event = draw(envelopes())
    value: bytes | None = json.dumps(event).encode()
    headers: Headers = ()
    match draw(st.integers(0, 4)):
        case 0:
            value = draw(st.none() | st.binary())
        case 1:
            value, headers = binary(event)
        case _:
            pass
    if value is not None:
        value = mangled(value, draw)
    names = st.sampled_from(["ce_specversion", "ce_subject", "ce_time", "ce_type", "content-type", "ce_", "x"]) | st.text(
        max_size=3
    )
    headers += tuple(draw(st.lists(st.tuples(names, st.binary(max_size=5)), max_size=2)))
    timestamp_ms = draw(st.none() | st.integers(-(2**63), 2**63 - 1))
    return Record("t", 0, 0, timestamp_ms, draw(st.none() | st.binary(max_size=3)), value, headers)


@ANYTHING
@given(records())
def test_any_record_at_all_is_answered(anything: Record) -> None:
    """One broken record must not stop a partition: an exception here would."""
    match decode(anything):
        case Event(lead=lead, at_ms=at_ms):
            assert lead
            assert 0 <= at_ms < LAST_MS
        case Rejected(record=same, reason=reason, detail=detail):
            assert same is anything
            assert reason in REASONS
            assert 0 < len(detail.encode()) < 1500
        case Unknown(type=name):
            assert row_of(name) is None


@ANYTHING
@given(records())
def test_the_short_way_says_what_the_long_way_says(anything: Record) -> None:
    """The typed call only spares work: the answer never depends on which way was taken."""
    whole = decode(anything)
    with without_the_short_way():
        assert decode(anything) == whole


class without_the_short_way:
    """Makes the typed call take nothing, so that everything goes the long way."""

    def __enter__(self) -> None:
        self._kept = codec._usual

        def refuse(_: bytes) -> Any:
            raise RecursionError

        codec._usual = refuse  # type: ignore[misc,assignment]

    def __exit__(self, *_: object) -> None:
        codec._usual = self._kept  # type: ignore[misc]


def test_a_null_header_is_no_header() -> None:
    """Clients hand over None for Kafka's null header, whatever their types say."""
    nulls: Any = (("content-type", None), ("ce_subject", None))
    value, headers = binary(envelope())
    assert isinstance(decode(record(value, headers + nulls)), Event)
    assert isinstance(decode(record(structured(envelope()), nulls)), Event)


def names(value: Any) -> Iterator[str]:
    """Yield every module-level name of the codec that is public."""
    return (name for name in vars(value) if not name.startswith("_"))


def test_the_codec_imports_no_models() -> None:
    """The core stays free of pydantic: the contract is held by these tests, not at run time."""
    assert "pydantic" not in {getattr(vars(codec)[name], "__module__", "").partition(".")[0] for name in names(codec)}
