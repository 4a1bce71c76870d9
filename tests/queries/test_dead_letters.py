"""Which letters are picked, what is said of them, and what a replay sends; the reading and sending are in tests/cli."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from worker.adapters.memory_log import MemoryLog
from worker.core.batch.plan import REFUSED
from worker.core.contract.codec import REASONS, decode
from worker.core.contract.dead_letter import REPLAYED, UNSENT, DeadLetter
from worker.core.contract.model import Headers, Record, Rejected
from worker.core.contract.partitioner import owner
from worker.core.contract.unread import UNREAD
from worker.errors import Undelivered
from worker.intake.routes import CONTENT_TYPE
from worker.queries.dead_letters import HINTS, DeadLetterFilter, event_type, without_values
from worker.queries.resend import Counts, Resend, misplaced, resend, resent, still_bad
from worker.settings import Settings

SETTINGS = Settings.load({})
NOW = 1_780_000_000_000
BINARY: Headers = (("ce_specversion", b"1.0"), ("ce_type", b"demo.requested"), ("content-type", b"application/json"))


def an_event(**changed: Any) -> bytes:
    """Return a valid event, or one with *changed* attributes."""
    envelope = {"specversion": "1.0", "id": "1", "source": "/t", "type": "page.viewed", "subject": "ann"}
    return json.dumps(envelope | {"time": "2026-03-02T10:00:00Z", "data": {"url": "/"}} | changed).encode()


def a_letter(
    value: bytes | None = b"{", reason: str = "not_json", headers: Headers = (), key: bytes | None = b"ann"
) -> DeadLetter:
    """Return the letter at 2:17 of a record of `lead.events.web`."""
    return DeadLetter(2, 17, 1_000, reason, "why", Record("lead.events.web", 3, 1291, None, key, value, headers))


def test_there_is_a_hint_for_every_reason() -> None:
    """And each command in a hint names the letter itself."""
    assert set(HINTS) == {*REASONS, *REFUSED, *UNSENT, *UNREAD}
    for hint in HINTS.values():
        assert "leadpulse dead replay PLACE" in hint
        assert not re.search(r"leadpulse dead \w+ (?!PLACE)", hint)


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (DeadLetterFilter(), True),
        (DeadLetterFilter(reasons=frozenset({"empty", "not_json"})), True),
        (DeadLetterFilter(reasons=frozenset({"empty"})), False),
        (DeadLetterFilter(since_ms=1_000), True),
        (DeadLetterFilter(since_ms=1_001), False),
        (DeadLetterFilter(until_ms=1_001), True),
        (DeadLetterFilter(until_ms=1_000), False),
        (DeadLetterFilter(topic="lead.events.web"), True),
        (DeadLetterFilter(topic="lead.dead"), False),
        (DeadLetterFilter(types=frozenset({"page.viewed", "x"})), True),
        (DeadLetterFilter(types=frozenset({"x"})), False),
        (DeadLetterFilter(frozenset({"not_json"}), 1_000, 1_001, frozenset({"page.viewed"}), "lead.events.web"), True),
        (DeadLetterFilter(frozenset({"not_json"}), 1_000, 1_001, frozenset({"page.viewed"}), "other"), False),
    ],
)
def test_a_letter_is_taken_when_every_condition_holds(wanted: DeadLetterFilter, taken: bool) -> None:
    """From the first instant on, before the last."""
    assert wanted.takes(a_letter(an_event())) is taken


@pytest.mark.parametrize(
    ("value", "headers", "told"),
    [
        (an_event(subject=None), (), "page.viewed"),
        (b"\xff", BINARY, "demo.requested"),
        (b'{"type": "page.viewed", "data": {"x": 1e999}}', (), "page.viewed"),
        (b'{"type": 5}', (), None),
        (b'{"type": ""}', (), None),
        (b"[]", (), None),
        (b'{"type": "page.viewed", ', (), None),
        (b'{"a":' + b"[" * 50_000, (), None),
        (b"\xff", (), None),
        (None, (), None),
    ],
)
def test_the_type_is_told_as_far_as_it_can_be(value: bytes | None, headers: Headers, told: str | None) -> None:
    """A broken record often has a readable type; no record makes the search fail."""
    assert event_type(Record("t", 0, 0, None, None, value, headers)) == told


@pytest.mark.parametrize(
    "fault",
    [
        {"data": {"url": "/", "duration_s": "SECRET"}},
        {"data": {"url": "/", "duration_s": "SECRET; expected SECRET"}},
        {"data": {"url": "/", "duration_s": 'SECRET"; expected a number'}},
        {"data": {"url": "/", "duration_s": "SECRET\nSECRET"}},
        {"data": {"url": 612345678}},
        {"data": {"url": True}},
        {"data": "SECRET"},
        {"subject": 612345678},
        {"time": "SECRET"},
        {"specversion": "SECRET"},
        {"type": "lead.identified", "data": {"anonymous_id": 612345678}},
    ],
)
def test_a_detail_is_listed_without_the_value_that_it_quotes(fault: dict[str, Any]) -> None:
    """The list is pasted into tickets; what was expected, and where, stays."""
    bad = decode(Record("t", 0, 0, None, None, an_event(**fault)))
    assert isinstance(bad, Rejected)
    shown = without_values(bad.detail)
    assert not re.search("SECRET|612345678|true", shown)
    assert shown.startswith(bad.detail.partition(":")[0] + ": a ")
    assert shown.endswith(bad.detail.rpartition("; ")[2])


def test_a_detail_without_a_value_stays_as_it_is() -> None:
    """Byte numbers and counts help, and tell of nobody."""
    for value in (b"{", b"", b"[1]", an_event(time=None), an_event(data={"url": "/", "x": 2**70})):
        bad = decode(Record("t", 0, 0, None, None, value))
        assert isinstance(bad, Rejected)
        assert without_values(bad.detail) == bad.detail


def test_a_replay_sends_the_record_as_it_came_and_names_the_letter() -> None:
    """A letter that was replayed before names the latest one alone."""
    record = resent(a_letter(b"{", headers=(("trace", b"1"), (REPLAYED, b"0:3"))), NOW)
    sent = Record("lead.events.web", 3, 1291, NOW, b"ann", b"{", (("trace", b"1"), (REPLAYED, b"2:17")))
    assert record == sent
    assert resent(a_letter(key=None), NOW).key is None
    assert resent(a_letter(), NOW, to="elsewhere").topic == "elsewhere"


def test_a_mended_event_is_read_as_one_whatever_the_original_was() -> None:
    """With the headers of binary mode still on it, the whole event would be taken for its `data`."""
    letter = a_letter(b"{", headers=(*BINARY, ("Content-Type", b"text/plain"), ("trace", b"1")))
    record = resent(letter, NOW, replacement=an_event())
    assert record.value == an_event()
    assert record.headers == (("trace", b"1"), *CONTENT_TYPE, (REPLAYED, b"2:17"))
    assert still_bad(record) is None
    assert still_bad(record._replace(headers=letter.record.headers)) is not None


def test_what_the_worker_would_not_count_is_still_bad() -> None:
    """Refused, or passed over for its type; the clock of the replay is the record's, as it will be in Kafka."""
    assert still_bad(resent(a_letter(an_event()), NOW)) is None
    assert (still_bad(resent(a_letter(b"{"), NOW)) or ("",))[0] == "not_json"
    assert (still_bad(resent(a_letter(an_event(type="page.veiwed")), NOW)) or ("",))[0] == "unknown_type"
    assert still_bad(resent(a_letter(an_event(time="9999-06-01T00:00:00Z")), NOW)) is None


async def test_what_holds_nothing_to_send_is_counted_even_when_forced() -> None:
    """The stand-in for a large record must never be taken for it, and no client sends what has neither key nor value."""

    async def letters() -> AsyncIterator[DeadLetter]:
        yield a_letter(b'{"value":{"bytes":900001}}', "too_large")
        yield a_letter(None, "empty", key=None)

    counts, told = Counts(), list[str]()
    await resend(letters(), SETTINGS, MemoryLog(SETTINGS), Resend(force=True, dry_run=True), counts, told.append)
    assert counts == Counts(without_value=2)
    assert len(told) == 2


def of(topic: str, headers: Headers = ()) -> DeadLetter:
    """Return a letter of an event that is sound, whose record came from *topic*."""
    return DeadLetter(2, 17, 1_000, "bad_data", "why", Record(topic, 3, 1291, None, b"ann", an_event(), headers))


@pytest.mark.parametrize(
    "topic",
    ["leadpulse.default.internal", "leadpulse.another.internal", "lead.sql", "lead.mql", "lead.dead", "lead.stage"],
)
@pytest.mark.parametrize("to", [None, "lead.events.crm"])
async def test_a_forged_letter_is_told_and_never_sent(topic: str, to: str | None) -> None:
    """Whoever may write dead letters must not write to a journal by the hand of who replays them."""

    async def letters() -> AsyncIterator[DeadLetter]:
        yield of(topic, (("lp-kind", b"tick"),))

    counts, told = Counts(), list[str]()
    how = Resend(to, an_event(), force=True, dry_run=True)
    await resend(letters(), SETTINGS, MemoryLog(SETTINGS), how, counts, told.append)
    assert counts == Counts(misplaced=1)
    assert "forged" in told[0]
    assert topic in told[0]


def test_a_letter_of_a_topic_that_is_no_input_is_sent_where_somebody_says() -> None:
    """Inputs change; what came from one of before may still be worth something."""
    inputs = {"LEADPULSE_INPUT_TOPICS": "lead.events.web"}
    settings = Settings.load(inputs)
    assert misplaced(settings, of("lead.events.web"), None) is None
    assert misplaced(settings, of("lead.events.old"), "lead.events.web") is None
    assert "--to" in (misplaced(settings, of("lead.events.old"), None) or "")


def test_headers_of_our_own_are_stripped_before_a_record_is_sent() -> None:
    """In the journal they would say what a record is; on an input they say that nobody but us wrote it."""
    ours = (("lp-kind", b"tick"), ("LP-Topic", b"x"), ("lp-lead", b"bob"), (REPLAYED, b"9:9"))
    record = resent(of("lead.events.web", (*ours, ("trace", b"1"))), NOW)
    assert record.headers == (("trace", b"1"), (REPLAYED, b"2:17"))


async def test_a_replay_sends_what_the_worker_takes_now_and_counts_the_rest() -> None:
    """Into the partition of the record's key, on any log that takes records."""

    async def letters() -> AsyncIterator[DeadLetter]:
        yield a_letter(an_event())
        yield a_letter(b"{")
        yield of("lead.sql")

    log, counts, told = MemoryLog(SETTINGS), Counts(), list[str]()
    await resend(letters(), SETTINGS, log, Resend(), counts, told.append)
    (record,) = log.committed_records("lead.events.web")
    assert (record.partition, record.key, record.value) == (owner("ann", 8), b"ann", an_event())
    assert record.headers == ((REPLAYED, b"2:17"),)
    assert counts == Counts(replayed=1, still_bad=Counter(not_json=1), misplaced=1)
    assert [line.partition(",")[0] for line in told] == ["2:17 not sent"] * 2


async def test_a_replay_into_a_topic_that_is_not_there_ends_with_its_name() -> None:
    """A client would wait for ever for it."""

    async def letters() -> AsyncIterator[DeadLetter]:
        yield a_letter(an_event())

    counts = Counts()
    with pytest.raises(Undelivered, match="has no topic elsewhere: create it"):
        await resend(letters(), SETTINGS, MemoryLog(SETTINGS), Resend(to="elsewhere"), counts, print)
    assert counts == Counts()
