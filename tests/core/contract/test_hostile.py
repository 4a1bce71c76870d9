"""Bytes that somebody made to do harm, from the record to what is stored and published."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.kit.examples import examples
from tests.kit.hostile import NASTY, RAW, TIMES, damaged
from tests.kit.waits import effort
from worker.core.batch.plan import Plan, plan_events, plan_tick
from worker.core.contract.codec import decode
from worker.core.contract.dead_letter import dead_letter, read_letter
from worker.core.contract.event_types import DATA_FIELDS
from worker.core.contract.journal import Cut, JournalError, Stray, decode_entry, stray_output
from worker.core.contract.marks import shown_mark
from worker.core.contract.model import Decoded, Event, Headers, LeadWrite, Output, Record, Rejected
from worker.core.contract.partitioner import owner
from worker.core.grid.lint import lint
from worker.core.grid.messages import GridError
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.state import UnreadableState, most_bytes, pack, unpack
from worker.ports import OutboxEntry

DAY = 86_400_000
NOW = 1_770_000_000_000

GRID = r"""
grid: hostile
version: 1
timezone: Europe/Paris
pages: {pricing: ["/pricing*", "*/*/*x"]}
fit:
  rules:
    - {id: cto, points: 5, where: {role: cto}}
    - {id: deep, points: 3, where: {a.b.c: {exists: true}, company.size: {gte: 5}}}
    - {id: mail, points: 5, where: {email_kind: business}}
    - {id: odd, points: 1, where: {note: {matches: "^(a|b)+x"}}}
engagement:
  half_life: 7d
  rules:
    - {id: view, points: 9, on: page.viewed, once_per: session_id, intent: true}
    - {id: pricing, points: 9, on: page.viewed, where: {page_type: pricing}}
    - {id: form, points: 9, on: [form.submitted, demo.requested], where: {fields.budget: {gt: 10}}}
    - {id: no-show, points: -9, on: [webinar.no_show, crm.no_show], expires_after: 3d}
velocity:
  - {id: days, on: page.viewed, count: days, within: 45d, steps: {1: 1}}
  - {id: sessions, on: page.viewed, count: sessions, within: 7d, steps: {1: 1}}
exclusions:
  - {id: gone, on: email.unsubscribed}
  - {id: rival, where: {company.domain: [rival.example]}}
stages: {mql: {enter: 5, leave: 4}, sql: {enter: 9, leave: 8, sla: 4h}, quiet: 1d}
grades: {fit: {A: 5, B: 0}, engagement: {1: 5, 2: 0}}
"""
SCORER = CompiledGrid(parse_grid(GRID, "hostile.yaml"), "/leadpulse/test")
BOUND = most_bytes(4, 2, 1)
words = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308, 1e22, 0.1])
    | words
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.just("a.b"), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """A CloudEvent of a known type with hostile contents, not always valid."""
    kind = draw(st.sampled_from(sorted(DATA_FIELDS)))
    data: dict[str, Any] = draw(st.dictionaries(words, values, max_size=3))
    for name, field in DATA_FIELDS[kind].items():
        if field.required or draw(st.booleans()):
            of_kind: dict[Any, st.SearchStrategy[Any]] = {
                str: words,
                float: st.floats(0, 1) | st.sampled_from([0, 2**63, 1e308]),
                bool: st.booleans(),
                dict: st.dictionaries(
                    words | st.sampled_from(["email", "role", "a.b", "company", "budget"]), values, max_size=4
                ),
            }
            data[name] = draw(of_kind[field.kind])
    event = {
        "specversion": "1.0",
        "id": draw(words),
        "source": draw(words),
        "type": kind,
        "subject": draw(words),
        "time": draw(st.sampled_from(TIMES) | st.just(TIMES[0])),
        "data": data,
    }
    said = json.dumps(event, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 3)) == 0:
        said = said.replace('"data": {', f'"data": {{"raw": {draw(st.sampled_from(RAW))}, ', 1)
    if draw(st.integers(0, 5)) == 0:
        said = said.replace('"subject"', '"subject": "other", "subject"', 1)
    return draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf"])) + said.encode()


headers = st.lists(
    st.tuples(words | st.sampled_from(["ce_specversion", "ce_id", "ce_type", "ce_subject", "ce_time"]), st.binary(max_size=30)),
    max_size=4,
).map(tuple)


def held_well(plan: Plan, states: dict[str, bytes | None]) -> None:
    """Hold what a plan writes and publishes to what stores and consumers rely on, and take it into *states*."""
    for write in plan.writes:
        assert pack(unpack(write.state)) == write.state
        assert len(write.state) <= BOUND
        readable(write)
        states[write.lead] = write.state
    for output in plan.outputs:
        said = msgspec.json.decode(output.value or b"")
        json.loads(output.value or b"", parse_constant=pytest.fail)
        assert output.key == said["subject"].encode()
        assert said["id"] == f"{said['subject']}:{said['sequence']}"
        assert len(output.value or b"") < 1_000_000
    assert msgspec.msgpack.decode(
        msgspec.msgpack.encode(OutboxEntry(Cut(1, {}, "", "", 1), tuple(plan.outputs))), type=OutboxEntry
    ).outputs == tuple(plan.outputs)


def readable(write: LeadWrite) -> None:
    """Hold what people and programs read in Redis to be numbers."""
    for number in (write.score, write.fit, write.engagement):
        assert number == "" or math.isfinite(float(number))
    assert write.rank is None or math.isfinite(write.rank)
    assert write.due_ms is None or 0 <= write.due_ms < 2**53


def kept_whole(bad: Rejected) -> None:
    """Hold a rejected record's letter to give the very record back."""
    letter = dead_letter("lead.dead", bad)
    read = read_letter(Record("lead.dead", 0, 0, None, letter.key, letter.value, letter.headers))
    assert read is not None
    assert read.record[:3] == bad.record[:3]
    assert not read.whole or read.record[4:] == bad.record[4:]
    assert read.reason == bad.reason
    assert read.detail.isascii() or read.detail == bad.detail


def decoded_of(value: bytes, of_headers: Headers) -> Decoded:
    """Decode *value*, and again as a stray that came through the journal."""
    record = Record("in", 0, 7, NOW, None, value, of_headers)
    stray = stray_output("internal", 1, record)
    entry = decode_entry(Record("internal", 1, 0, NOW, stray.key, stray.value, stray.headers))
    assert entry == Stray(record)
    return decode(record)


@examples(300)
@given(st.lists(st.tuples(events(), headers), min_size=1, max_size=6), st.randoms(use_true_random=False), st.integers(0, 3))
def test_whatever_comes_is_held_and_published_soundly_or_kept_as_it_came(
    sent: list[tuple[bytes, Headers]], random: Random, times: int
) -> None:
    """Hostile events, whole and with damaged bytes: no exception, bounded states that read back, outputs that are JSON."""
    states: dict[str, bytes | None] = {}
    for value, of_headers in sent:
        for bytes_ in (value, damaged(value, random, times)):
            found = decoded_of(bytes_, of_headers)
            if isinstance(found, Rejected):
                kept_whole(found)
            elif isinstance(found, Event):
                assert 0 <= owner(found.lead, 8) < 8
                plan = plan_events(SCORER, {found.lead: states.get(found.lead)}, [found], None)
                held_well(plan, states)
                for place, _, why in plan.refused:
                    assert place == 0
                    kept_whole(Rejected(Record("in", 0, 7, NOW, None, bytes_), "traits_refused", why))
    held_well(plan_tick(SCORER, states, NOW + 90 * DAY, None), states)


def test_ids_that_differ_by_a_byte_are_leads_of_their_own() -> None:
    """Nothing is normalised, folded in case or trimmed: what a person takes for the same may be two people's."""
    for one, other in [("é", "e\u0301"), ("a", "а"), ("A", "a"), ("a", "a "), ("a", "a\0"), ("1", "１"), ("a", "\ufeffa")]:
        assert unicodedata.normalize("NFKC", one.strip("\0\ufeff ")).casefold()  # they look alike
        found = []
        for lead in (one, other):
            said = {
                "specversion": "1.0", "id": "1", "source": "/s", "type": "page.viewed",
                "subject": lead, "time": TIMES[0], "data": {"url": "/pricing"},
            }  # fmt: skip
            event = decode(Record("in", 0, 0, NOW, None, json.dumps(said).encode()))
            assert isinstance(event, Event)
            found.append(event)
        plan = plan_events(SCORER, {one: None, other: None}, found, None)
        assert [write.lead for write in plan.writes] == [one, other]
        assert {output.key for output in plan.outputs} == {one.encode(), other.encode()}
        assert plan.duplicates == 0


def test_ten_thousand_traits_and_paths_that_lead_nowhere_cost_little() -> None:
    """Names of 16 levels, empty ones, dots alone, and those that another language's objects would stumble over."""
    hostile: list[dict[str, Any]] = [
        {f"k{n}": n for n in range(10_000)},
        {".": 1, "..": 2, "": 3, "a.": 4, ".a": 5, "a": {"": {"": 6}}},
        {"__proto__": {"role": "cto"}, "constructor.prototype": 1, "__class__": {"__init__": 2}},
        {".".join("a" * 16): 1, "a": {"b": None}, "a.b": {"c": []}},
        {".".join("a" * 17): 1},
        {"." * 900: 1, "email": [], "company": "x", "company.size": True},
    ]
    states: dict[str, bytes | None] = {"L": None}
    for n, traits in enumerate(hostile):
        event = Event("L", "profile.updated", NOW + n, str(n), "/s", {"traits": traits}, False, "t", 0, n)
        held_well(plan_events(SCORER, states, [event], None), states)
    assert len(states["L"] or b"") < 10_000


@examples(150)
@given(
    st.sampled_from([b"tick", b"cuts", b"grid", b"stray", b"", b"\xff"]),
    st.sampled_from([b"[5,{}]", b'[[7,{"a":1},"g","w",1,5,true,false,9]]', b'[5,{"in":7}]', b"grid: x\nversion: 1\n"]),
    st.lists(
        st.tuples(
            st.sampled_from(["lp-topic", "lp-partition", "lp-offset", "lp-timestamp", "x"]),
            st.sampled_from([b"", b"7", b"-7", b"%d" % 2**64, b"in", b"\xff", b"1e3", b" 7"]) | st.binary(max_size=9),
        ),
        max_size=6,
    ),
    st.randoms(use_true_random=False),
    st.integers(0, 3),
)
def test_the_journal_gives_an_entry_or_says_where_it_cannot(
    kind: bytes, value: bytes, given_headers: list[tuple[str, bytes]], random: Random, times: int
) -> None:
    """And what it gives can be written on: a number that fits nowhere would break the batch after it was folded."""
    record = Record("internal", 3, 41, NOW, None, damaged(value, random, times), (("lp-kind", kind), *given_headers))
    assert can_be_written(record) or said_of(record).startswith("journal record internal[3] offset 41")


def can_be_written(record: Record) -> bool:
    """Return whether *record* holds an entry."""
    try:
        return bool(msgspec.msgpack.encode(decode_entry(record)))
    except JournalError:
        return False


def said_of(record: Record) -> str:
    """Return why *record* holds none."""
    with pytest.raises(JournalError) as refused:
        decode_entry(record)
    return str(refused.value)


@examples(200)
@given(st.randoms(use_true_random=False), st.integers(1, 5))
def test_a_damaged_state_is_told_with_its_lead(random: Random, times: int) -> None:
    """By whatever name the fold fails: somebody has to find the lead in Redis."""
    said = [
        Event("L", "page.viewed", NOW + n * DAY, str(n), "/s", {"url": "/", "session_id": "s"}, False, "t", 0, n)
        for n in range(9)
    ]
    said += [Event("L", "profile.updated", NOW, "p", "/s", {"traits": {"email": "a@acme.example", "b": [1]}}, False, "t", 0, 9)]
    [write] = plan_events(SCORER, {"L": None}, said, None).writes
    broken = damaged(write.state, random, times)
    more = [
        Event("L", "profile.updated", NOW + 10 * DAY, "q", "/s", {"traits": {"c": 1}}, False, "t", 0, 10),
        Event("L", "crm.rejected", NOW + 10 * DAY, "r", "/s", {}, False, "t", 0, 11),
    ]
    assert told_of(lambda: plan_events(SCORER, {"L": broken}, more, None))
    assert told_of(lambda: plan_tick(SCORER, {"L": broken}, NOW + 20 * DAY, None))


def told_of(fold: Callable[[], Plan]) -> bool:
    """Return whether *fold* works, or fails naming lead L."""
    try:
        fold()
    except UnreadableState as err:
        return str(err).startswith(f"lead with mark {shown_mark('L')}: ")
    except Exception as err:  # noqa: BLE001 (damage shows in any way)
        return any(f"while the lead with mark {shown_mark('L')} was folded" in note for note in err.__notes__)
    return True


def test_an_output_is_one_for_its_lead_whatever_the_id_looks_like() -> None:
    """`LEAD:SEQUENCE` is unique though ids hold colons: the sequence is a number without one."""
    ids: list[str] = []
    for lead in ("a", "a:1", "a:1:1", "a:"):
        event = Event(lead, "crm.won", NOW, "1", "/s", {}, False, "t", 0, 0)
        outputs: list[Output] = plan_events(SCORER, {lead: None}, [event], None).outputs
        ids += [json.loads(output.value or b"")["id"] for output in outputs]
    assert len(ids) == len(set(ids)) == 4


ORDERS = "x\x1b[2J\n\u202ey\x9b"


def with_orders(grid: Any) -> Iterator[Any]:
    """Yield copies of *grid*, each with a terminal's orders in one place: a key, a word, or instead of a value."""
    match grid:
        case dict():
            for key, held in grid.items():
                yield {(ORDERS if name == key else name): value for name, value in grid.items()}
                for other in with_orders(held):
                    yield grid | {key: other}
        case list():
            for place, held in enumerate(grid):
                for other in with_orders(held):
                    yield [*grid[:place], other, *grid[place + 1 :]]
        case _:
            yield ORDERS
            yield f"{grid}{ORDERS}"


def test_no_grid_gives_orders_to_the_terminal_that_checks_it() -> None:
    """Mistakes and warnings are one line each, whatever is written where."""
    tried = 0
    for hostile in with_orders(YAML(typ="safe", pure=True).load(GRID)):
        try:
            said = [one.message for one in lint(parse_grid(json.dumps(hostile).encode(), "g.yaml"))]
        except GridError as err:
            said = [str(one) for one in err.mistakes]
            assert said
        assert all(line.isprintable() for line in said), said
        tried += 1
    assert tried > 200


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(20)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "once aliases are expanded"),
        ("a: &a [*a]\n", "an alias inside itself"),
        ("a: " + "[" * 5_000 + "]" * 5_000, "nested deeper"),
        ("a: " + "{a: " * 900 + "1" + "}" * 900, "nested deeper"),
        ("a" * 2_000_000, "bytes are too many"),
        ("grid: g\0", "not YAML"),
        ("grid: g\nversion: " + "9" * 5_000, "version: write a whole number"),
        ("grid: g\nversion: 1\nscore: {min: 1e400}", "score.min: write a number"),
        ("? [a]\n: 1\n", "a key must be a word"),
        ("a: !!python/object/apply:os.system [id]\n", "means nothing here"),
    ],
    ids=["bomb", "self", "lists", "maps", "long", "nul", "version", "number", "key", "tag"],
)
def test_a_grid_that_is_made_to_do_harm_is_refused_in_words(text: str, words: str) -> None:
    """Bombs, depth, size, tags, numbers beyond numbers; soon, too: a grid also comes out of the journal."""

    def refuse() -> None:
        with pytest.raises(GridError, match=re.escape(words)):
            parse_grid(text.encode(), "g.yaml")

    assert effort(refuse) < 1_000
