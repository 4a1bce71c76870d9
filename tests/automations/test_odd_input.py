"""Odd files and odd outputs: each is refused in words, or taken. Nothing else is raised."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.examples import output_example
from tests.kit.rules import rules_of
from worker.automations.names import names_of, where_of
from worker.automations.output import NotAnOutput, read_output
from worker.errors import AutomationsError

PARTS = "sync owners acts nurture timezone id on where to do with fresh max unless consent fields object table values else"
FIELDS = "phase every contents template stop subject body owner minutes html text document level signers name"
KEYS = f"{PARTS} {FIELDS}".split()
WORDS = [
    "crm", "mail", "hook", "sign", "task", "send", "signature", "lead.sql", "lead.phase", "crm.won", "4h", "50/h", "score",
    "{{ score }}", "{{ owner }}", "{{ traits.a.b }}", "{% if score %}", "{{ reasons|top }}", "{{ 1/0 }}", "round-robin([a, b])",
    "a@b.example", "contact", "country", "UTC", "", "x.html.j2", "../x", "{% include 'x' %}", "{{ '' if x }}", "{{", "reasons",
]  # fmt: skip
LEAVES = st.sampled_from(WORDS) | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=25
)
ACTS = st.fixed_dictionaries(
    {"id": st.just("a"), "on": st.just("lead.sql"), "to": st.sampled_from(["crm", "mail", "sign", "hook"]),
     "do": st.sampled_from(["task", "send", "signature"])},
    optional={"with": TREES, "where": TREES, "unless": TREES, "max": TREES, "fresh": TREES, "consent": TREES},
)  # fmt: skip
CONTENTS = st.fixed_dictionaries({"id": LEAVES | TREES}, optional={"with": TREES, "where": TREES, "template": LEAVES})
NURTURES = st.fixed_dictionaries(
    {"id": LEAVES, "phase": LEAVES, "every": st.just("4d"), "to": st.sampled_from(["mail", "hook"]),
     "contents": st.lists(CONTENTS, max_size=3)},
    optional={"with": TREES, "stop": TREES, "do": LEAVES},
)  # fmt: skip
FILES = TREES | st.fixed_dictionaries(
    {"acts": st.lists(ACTS, max_size=2)},
    optional={"sync": TREES, "owners": TREES, "nurture": TREES | st.lists(NURTURES, max_size=2)},
)


def scrambled(draw: Any) -> dict[str, Any]:
    """Return an output some of whose values are others."""
    event = output_example(draw(st.sampled_from(["lead.sql", "lead.phase", "lead.stage", "account.hot", "lead.duplicate"])))
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )
    for key in draw(st.lists(st.sampled_from([*event["data"], "phase", "stage", "merged_into", "respond_by"]), max_size=4)):
        event["data"][key] = draw(values)
    if isinstance(event["data"].get("traits"), dict):
        event["data"]["traits"] |= draw(st.dictionaries(st.text(max_size=9), values, max_size=3))
    for key in draw(st.lists(st.sampled_from(["id", "subject", "time", "sequence", "data"]), max_size=1)):
        event[key] = draw(values)
    return event


OUTPUTS = st.composite(scrambled)()

SQL = read_output(json.dumps(output_example("lead.sql")))
RULES = rules_of(
    """
sync: [{to: crm, fields: {s: score, g: grade, st: stage, p: phase, r: "reasons|top(3)", n: traits.company.size}}]
owners: {table: country, values: {FR: anna}, else: "round-robin([x, y])"}
acts:
  - id: call
    on: [lead.sql, lead.stage, lead.phase]
    where: {score: {gte: 0}, company.size: {exists: true}}
    to: crm
    do: task
    with: {subject: "{{ traits.first_name or lead_id }} {{ owner }}", body: "{{ dossier }}", due: "{{ respond_by or time }}"}
  - {id: mail, on: lead.sql, to: mail, do: send, with: {to: "{{ traits.email }}", html: "{{ recent[0].label }}"}}
  - {id: hot, on: [account.hot, lead.duplicate], to: hook, do: send}
nurture:
  - {id: care, phase: consideration, every: 1d, to: mail, contents: [{id: a, with: {html: "{{ score }}"}}]}
"""
)


@given(FILES)
def test_any_file_is_refused_in_words_or_taken(data: Any) -> None:
    """One line for each mistake, and no secret of Python's in it."""
    words = ""
    try:
        rules_of(json.dumps(data)).plan(SQL)
    except AutomationsError as error:
        words = str(error)
    assert all(line.startswith("automations.yaml:") for line in words.splitlines())
    assert " object at 0x" not in words


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_refused_in_words_or_taken(text: str) -> None:
    """YAML or not."""
    with contextlib.suppress(AutomationsError):
        rules_of(text)


@given(OUTPUTS)
def test_any_output_is_refused_or_brings_about_whole_acts(event: dict[str, Any]) -> None:
    """An act has its fields or a reason, and a state plain values. All of it fits into the ledger."""
    try:
        output = read_output(json.dumps(event))
    except NotAnOutput:
        return
    plan = RULES.plan(output)
    for draft in plan.drafts:
        assert bool(draft.dead) == (not draft.act.fields) == (draft.act.unwritten is not None)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(draft.act), type=type(draft.act)) == draft.act
        assert "\n" not in draft.act.fields.get("subject", "")
    for state in plan.states:
        assert all(value is None or isinstance(value, (str, int, float, bool)) for value in state.fields.values())
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state)) == state
    for enrolment in plan.enrolments:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(enrolment.output), type=type(output)) == output
    RULES.next_content("care", output, (), 0)


@given(OUTPUTS)
def test_the_same_output_brings_about_the_same(event: dict[str, Any]) -> None:
    """Whatever was planned before, so that a repeat after a crash changes nothing."""
    with contextlib.suppress(NotAnOutput):
        output = read_output(json.dumps(event))
        before = output.event()
        assert RULES.plan(output) == RULES.plan(output)
        assert output.event() == before
        names = names_of(output, RULES.automations)
        assert where_of(output, names) == where_of(output, names)


def test_a_number_that_the_ledger_cannot_hold_is_rounded() -> None:
    """A lead may have a trait of thirty digits. It must not stop the program."""
    event = output_example("lead.sql")
    event["data"]["traits"] |= {
        "big": 10**29,
        "small": -(10**29),
        "huge": 10**400,
        "list": [2**64, 2**64 - 1, -(2**63) - 1, -(2**63)],
    }
    output = read_output(json.dumps(event))
    traits = output.data["traits"]
    assert (traits["big"], traits["small"], traits["huge"]) == (1e29, -1e29, 1e308)
    assert [type(value) for value in traits["list"]] == [float, int, float, int]
    assert msgspec.msgpack.encode(output)


def test_a_deep_output_is_taken_or_refused() -> None:
    """Its depth is the sender's choice."""
    for depth in (50, 900, 100_000):
        event = json.dumps(output_example("lead.sql")).replace(
            '"cause":', '"deep": ' + '{"a":' * depth + "1" + "}" * depth + ', "cause":'
        )
        with contextlib.suppress(NotAnOutput):
            output = read_output(event)
            assert RULES.plan(output).drafts
            assert msgspec.msgpack.encode(output)


def test_a_stage_of_another_kind_stops_nothing() -> None:
    """Were it an error, the partition would begin anew at the same record for ever."""
    event = output_example("lead.phase")
    event["data"] |= {"to": RULES.automations.nurture[0].phase, "stage": ["sql"]}
    assert [one.begins for one in RULES.plan(read_output(json.dumps(event))).enrolments] == [True]
