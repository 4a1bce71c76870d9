"""Made-up traffic: that it is what it says, and that the worker takes it as that."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from worker.cli.simulate import simulate
from worker.core.contract.codec import REASONS, decode
from worker.core.contract.event_types import DATA_FIELDS, row_of
from worker.core.contract.model import Decoded, Event, Record, Rejected, Unknown
from worker.demo.agenda import DAY_MS, START_MS
from worker.demo.bad_records import BAD
from worker.demo.people import PERSONAS
from worker.demo.simulate import LATE_BY_MS, Scenario, SimRecord, events, paced
from worker.intake.routes import TOPICS


def traffic(**changes: Any) -> list[SimRecord]:
    """Return what two hundred people do in three weeks, unless *changes* say otherwise."""
    arguments: dict[str, Any] = {"seed": 1, "leads": 200, "days": 21} | changes
    return list(events(Scenario(**arguments)))


@pytest.fixture(scope="module")
def two_months() -> list[SimRecord]:
    """Return what two thousand people do in sixty days: enough for what is rare."""
    return traffic(leads=2_000, days=60)


def decoded(record: SimRecord) -> Decoded:
    """Return what the worker reads, with the moment of arrival as the record's timestamp."""
    return decode(Record(record.topic, 0, 0, record.at_ms, record.key, record.value, record.headers))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    """A run that failed can be run again, and an oracle can be given the very same input."""
    disorder: dict[str, Any] = {"late": 0.1, "duplicates": 0.1, "bad": 0.1, "keyless": 0.1}
    first = traffic(days=4, **disorder)
    assert first == traffic(days=4, **disorder)
    assert first != traffic(days=4, seed=2, **disorder)


def test_a_longer_run_begins_as_the_shorter_one() -> None:
    """Asking for more days or records must not change the ones before; nothing looks ahead."""
    short = traffic(days=5)
    assert short == traffic(days=9)[: len(short)]
    assert short[:100] == traffic(days=5, limit=100)


def test_every_event_is_one_the_worker_takes() -> None:
    """A made-up event that the codec refuses would count as bad input that nobody asked for."""
    kinds = Counter(type(decoded(record)) for record in traffic())
    assert kinds[Rejected] == 0
    assert kinds[Event] > 2_000
    assert kinds[Unknown] > 0, "types that the worker does not know belong to real traffic"


def test_every_known_type_comes_up(two_months: list[SimRecord]) -> None:
    """What the simulation never sends, a demo never shows and a load test never loads."""
    seen = {row_of(json.loads(record.value)["type"]) for record in two_months}
    assert seen >= set(DATA_FIELDS)


def test_every_persona_has_people() -> None:
    """The weights are out of a hundred, as they say."""
    assert sum(persona.weight for persona in PERSONAS) == 100


@pytest.mark.parametrize("kind", list(BAD))
def test_every_bad_record_is_refused(kind: str) -> None:
    """One that the codec took would be a made-up event with wrong content, and the stated share would not be true."""
    for record in islice(events(Scenario(seed=1, leads=50)), 40):
        spoilt = record._replace(value=BAD[kind](json.loads(record.value)))
        assert isinstance(decoded(spoilt), Rejected), kind


def test_the_bad_records_show_every_reason_there_is() -> None:
    """The dead-letter topic of a demo or a test is then a catalogue of what can be wrong."""
    envelope = json.loads(next(events(Scenario(seed=1, leads=50))).value)
    reasons = set()
    for spoil in BAD.values():
        refused = decode(Record("t", 0, 0, None, None, spoil(dict(envelope))))
        assert isinstance(refused, Rejected)
        reasons.add(refused.reason)
    assert reasons == set(REASONS)


def test_disorder_changes_nothing_in_what_people_do() -> None:
    """The calm run is the oracle of the disturbed one: same events, other arrivals."""
    calm = traffic()
    stormy = traffic(late=0.2, duplicates=0.2, bad=0.1, keyless=0.3)
    assert sorted(r.value for r in stormy if r.note in ("event", "late")) == sorted(r.value for r in calm)
    assert {r.value for r in stormy if r.note == "duplicate"} <= {r.value for r in calm}


def test_without_disorder_arrival_is_the_order_of_the_events_times() -> None:
    """`--late 0` is the run in which no lead sees a late event."""
    calm = traffic()
    times = [json.loads(r.value)["time"] for r in calm]
    assert times == sorted(times)
    assert {r.note for r in calm} == {"event"}


def test_records_never_arrive_before_the_ones_before_them_nor_later_than_stated() -> None:
    """A pacer can sleep until the next one, and a late event is at most six hours late."""
    stormy = traffic(late=0.3, duplicates=0.3, bad=0.1)
    arrivals = [r.at_ms for r in stormy]
    assert arrivals == sorted(arrivals)
    delays = []
    for record in stormy:
        if record.note == "late":
            event = decoded(record)
            assert isinstance(event, Event | Unknown)
            if isinstance(event, Event):
                delays.append(record.at_ms - event.at_ms)
    assert 0 < min(delays) <= max(delays) <= LATE_BY_MS
    assert max(delays) > 3_600_000


def test_the_shares_are_the_ones_asked_for() -> None:
    """A claim such as "1 % duplicates" in a report rests on it. Four standard deviations of room."""
    shares = {"late": 0.1, "duplicate": 0.05, "bad": 0.02}
    stormy = traffic(leads=400, late=0.1, duplicates=0.05, bad=0.02, keyless=0.25)
    notes = Counter(r.note for r in stormy)
    happened = notes["event"] + notes["late"]
    for note, share in shares.items():
        assert notes[note] / happened == pytest.approx(share, abs=4 * (share / happened) ** 0.5), note  # type: ignore[index]
    keyless = sum(r.key is None for r in stormy) / len(stormy)
    assert keyless == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / len(stormy)) ** 0.5)


def test_the_key_is_the_lead_and_the_topic_that_of_the_family() -> None:
    """Producers that key by anything else make every record a stray."""
    for record in traffic(topics={**TOPICS, "crm": "sales"}):
        envelope = json.loads(record.value)
        assert record.key == envelope["subject"].encode()
        family = envelope["type"].partition(".")[0]
        expected = {"email": "lead.events.email", "webinar": "lead.events.webinar", "crm": "sales", "score": "sales"}.get(
            family
        )
        assert record.topic == (expected or ("lead.events.profile" if family in ("profile", "lead") else "lead.events.web"))


def test_nothing_follows_an_erasure(two_months: list[SimRecord]) -> None:
    """People who asked to be forgotten do nothing more; only delayed copies may still come."""
    erased = {json.loads(r.value)["subject"]: r.at_ms for r in two_months if b'"lead.erased"' in r.value}
    assert erased
    for record in two_months:
        subject = json.loads(record.value)["subject"]
        assert record.at_ms <= erased.get(subject, record.at_ms)


def test_a_visitor_is_identified_before_the_lead_is_used_for_long() -> None:
    """What somebody did as a visitor counts for the lead, so the worker must hear of it with the first form."""
    first_as_lead: dict[str, int] = {}
    identified: dict[str, int] = {}
    visited = set()
    for record in traffic(leads=400):
        envelope = json.loads(record.value)
        subject = envelope["subject"]
        number = subject.partition("-")[2]
        if subject.startswith("visitor-"):
            visited.add(number)
        else:
            first_as_lead.setdefault(number, record.at_ms)
        if envelope["type"] == "lead.identified":
            assert envelope["data"]["anonymous_id"] == f"visitor-{number}"
            identified[number] = record.at_ms
    both = visited & set(first_as_lead)
    assert both
    assert all(identified[number] - first_as_lead[number] < 1000 for number in both)


def test_people_come_in_office_hours_and_crawlers_at_any() -> None:
    """Bursts in the morning and silence at night are what a real worker sees."""
    hours: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
    for record in traffic(leads=600):
        envelope = json.loads(record.value)
        if envelope["type"] == "page.viewed":
            hours[envelope["data"].get("machine", False)][int(envelope["time"][11:13])] += 1

    def night(machine: bool) -> float:
        return sum(hours[machine][hour] for hour in range(5)) / hours[machine].total()

    assert night(machine=False) < 0.12
    assert night(machine=True) > 0.12


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"leads": 0}, "leads: 0"), ({"late": 1.5}, "late: 1.5"), ({"bad": -0.1}, "bad: -0.1")],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], words: str) -> None:
    """At once, with what was given and what is expected."""
    with pytest.raises(ValueError, match=words):
        traffic(**changes)


class _Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def _moments(compress: float = 0, rate: float = 0) -> list[tuple[int, float]]:
    clock = _Time()
    records = traffic(days=2)
    return [(r.at_ms, clock.now) async for r in paced(records, compress=compress, rate=rate, now=clock.read, sleep=clock.sleep)]


async def test_compressed_time_passes_as_many_times_as_fast_as_asked() -> None:
    """86,400: a simulated day in each second, to the millisecond that pauses are not taken below."""
    moments = await _moments(compress=86_400)
    first_ms = moments[0][0]
    for at_ms, now in moments:
        assert now - 100 == pytest.approx((at_ms - first_ms) / DAY_MS, abs=0.002)


async def test_the_rate_is_held_evenly() -> None:
    """Ten a second: the twentieth comes two seconds after the first."""
    moments = await _moments(rate=10)
    assert [now - 100 for _, now in moments[:30:10]] == pytest.approx([0, 1, 2])


async def test_without_a_pace_nothing_waits_but_others_get_their_turn() -> None:
    """A task beside it must not starve while a million records are made."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    count = len([r async for r in paced(traffic(days=4))])
    beside.cancel()
    assert turns >= count // 100


def test_the_command_writes_one_event_a_line_and_words_to_stderr(tmp_path: Path) -> None:
    """Bad records included: whatever bytes they hold, they stay one line."""
    out = tmp_path / "events.jsonl"
    result = CliRunner().invoke(simulate, ["--leads", "50", "--events", "400", "--bad", "0.5", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    lines = out.read_bytes().split(b"\n")
    assert (len(lines), lines[-1]) == (401, b"")
    assert result.stderr.startswith("400 records of 50 people over ")
    assert result.stderr.count("\n") == 1


def test_the_command_begins_where_it_is_told() -> None:
    """A date is its midnight in UTC."""
    for start, begins in (("2026-03-02", "2026-03-02T"), ("2026-03-02T12:00:00+02:00", "2026-03-02T1")):
        result = CliRunner().invoke(simulate, ["--events", "1", "--start", start])
        assert json.loads(result.stdout)["time"].startswith(begins), result.stderr


@pytest.mark.parametrize(
    "wrong",
    [["--start", "tomorrow"], ["--late", "2"], ["--topics", "fax=x"], ["--kafka", "h:1", "--out", "f"], ["--client", "java"]],
)
def test_wrong_usage_exits_with_two(wrong: list[str]) -> None:
    """1 is for what failed, 2 for what was asked wrongly."""
    assert CliRunner().invoke(simulate, wrong).exit_code == 2


def test_the_first_day_is_the_first_of_january_s_second_week() -> None:
    """The default start is a Monday, so a run of seven days is one week of work."""
    assert START_MS % DAY_MS == 0
    assert (START_MS // DAY_MS + 3) % 7 == 0
