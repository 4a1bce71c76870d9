"""Targets that answer anything at all: steps end in a refusal, never in a traceback, and never go on for ever."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.vendors.driving import act_of, state_of
from worker.automations.requests import Answer, Http, Refusal, Remember, Run
from worker.automations.targets.common import Kind
from worker.automations.targets.registry import KINDS
from worker.connections.file import parse_connections
from worker.connections.targets import Target

OAUTH = {"client_id": "${X}", "client_secret": "${X}"}
TARGETS: dict[str, list[dict[str, Any]]] = {
    "hubspot": [{"token": "${X}"}, {"token": "${X}", "id_property": "hs_object_id"}],
    "salesforce": [{**OAUTH, "base_url": "https://x.example"}, {**OAUTH, "base_url": "https://x.example", "id_field": "Id"}],
    "zoho": [{**OAUTH, "refresh_token": "${X}", "id_field": name} for name in ("", "id", "LeadPulse_Id")],
    "pipedrive": [{"token": "${X}"}, {"token": "${X}", "id_field": "id"}],
}
CASES = [(kind, number) for kind, each in TARGETS.items() for number in range(len(each))]

NAMES = st.sampled_from([
    "id", "results", "errors", "context", "objectWriteTraceId", "properties", "paging", "next", "after", "toObjectId",
    "message", "category", "data", "details", "code", "info", "more_records", "items", "item", "emails", "additional_data",
    "next_cursor", "records", "success", "statusCode", "errorCode", "Id", "Email", "IsConverted", "ConvertedContactId", "users",
])  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["1", "SUCCESS", "lead-42:7"])
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)


def target_of(kind: str, settings: dict[str, Any]) -> Target:
    """Return a target of the file of connections."""
    return parse_connections(json.dumps({"targets": {"crm": {"kind": kind, **settings}}}).encode(), "x").targets["crm"]


@st.composite
def answers(draw: st.DrawFn, sample: Any) -> Answer:
    """Draw an answer: the sample, the sample with one value replaced, anything, or no JSON."""
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 207, 300, 400, 404, 409, 429, 500]))
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return Answer(status, draw(st.binary(max_size=9)))
    if kind == 1:
        return Answer(status, json.dumps(draw(ANYTHING)).encode())
    return Answer(status, json.dumps(draw(mutated(sample)) if kind > 2 else sample).encode())


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Draw *value* with something in it replaced."""
    if draw(st.integers(0, 3)) == 0:
        return draw(ANYTHING)
    if isinstance(value, dict) and value:
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: draw(mutated(value[name]))}
    if isinstance(value, list) and value:
        return [draw(mutated(value[0])), *value[1:]]
    return value


def driven(kind: Kind, steps: Generator[Any, Any, Any], data: st.DataObject) -> Any:
    """Drive *steps* with answers that are drawn, and return the result, or the refusal."""
    answer: Any = None
    try:
        for _ in range(60):
            step = steps.send(answer)
            answer = None
            if isinstance(step, Http):
                answer = data.draw(answers(step.sample))
                if answer.status not in step.takes:
                    kind.judge(answer)
                    kind.spare(answer)
            else:
                assert isinstance(step, Remember)
                assert isinstance(step.value, str)
    except StopIteration as end:
        return end.value
    except Refusal as error:
        return error
    raise AssertionError("no end")


@pytest.mark.parametrize(("kind", "number"), CASES)
@given(data=st.data())
def test_acts_end_whatever_is_answered(kind: str, number: int, data: st.DataObject) -> None:
    """In an id that is a text, or a refusal."""
    held, target = KINDS[kind], target_of(kind, TARGETS[kind][number])
    fields = {"subject": "Call", "owner": "anna@example.com"}
    lead_id = data.draw(st.sampled_from(["lead-42", "4150868000000225013", "00Q000000000001AAA", "email:a@b.example"]))
    person = data.draw(st.sampled_from([{}, {"email": "a@b.example"}, {"name": "Ada"}]))
    run = data.draw(st.sampled_from([Run(), Run(unsure="*"), Run({"contact": "1"}, "task"), Run({}, "person")]))
    do = data.draw(st.sampled_from(["task", "forget"]))
    act = act_of("crm", do, fields, lead_id=lead_id, person=person)
    action = held.actions["task"] if do == "task" else held.forget
    assert action is not None
    assert isinstance(driven(held, action(target, act, run), data), str | Refusal)


@pytest.mark.parametrize(("kind", "number"), CASES)
@given(data=st.data())
def test_every_state_has_a_result_whatever_is_answered(kind: str, number: int, data: st.DataObject) -> None:
    """In the order in which they were given; or the whole is refused."""
    held, target = KINDS[kind], target_of(kind, TARGETS[kind][number])
    ids = ["lead-1", "4150868000000225013", "email:a@b.example", "visitor:1", "003000000000001AAA"]
    lead_ids = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=4))
    person = data.draw(st.sampled_from([{}, {"email": "A@b"}]))
    states = [state_of("crm", each, {"score": 1, "list": ["a"], "none": None}, person=person) for each in lead_ids]
    assert held.write is not None
    result = driven(held, held.write(target, states), data)
    if not isinstance(result, Refusal):
        assert [one.lead_id for one in result] == [one.lead_id for one in states]
