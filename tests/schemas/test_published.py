"""What the worker really publishes, held to the models that consumers read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import BaseModel

from schemas import OUTPUTS, DeadLetterHeaders, read_output
from schemas.documents import json_schemas
from worker.core.batch.plan import plan_events
from worker.core.contract.codec import decode
from worker.core.contract.dead_letter import dead_letter
from worker.core.contract.model import Event, Output, Record, Rejected
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid

GRID = """
grid: published
version: 1
fit:
  rules:
    - {id: business-email, points: 20, where: {email_kind: business}}
engagement:
  max: 60
  half_life: 7d
  rules:
    - {id: pricing-page, points: 30, on: page.viewed, where: {page_type: pricing}, cap: 40, intent: true}
    - {id: demo, points: 25, on: demo.requested}
velocity:
  - {id: comes-back, on: page.viewed, count: days, within: 7d, steps: {1: 5}}
inactivity: {after: 14d, every: 7d, points: -5, min: -30}
exclusions:
  - {id: unsubscribed, on: email.unsubscribed}
stages:
  mql: {enter: 40, leave: 30, min_fit: 15}
  sql: {enter: 70, leave: 50, min_fit: 15, intent_within: 30d, sla: 4h}
grades: {fit: {A: 35, B: 20, C: 0}, engagement: {1: 40, 2: 20, 3: 0}}
phases: {interest: 20, decision: {enter: 60, leave: 50}}
accounts: {enter: 40, leave: 30, roles: [sponsor]}
identity: {email: report}
"""

TRAITS: dict[str, Any] = {
    "email": "ada@acme.example",
    "company": {"size": 80, "domain": "acme.example"},
    "decision_role": "sponsor",
}

STORY: list[tuple[str, str, dict[str, Any]]] = [
    ("2026-03-02T09:00:00Z", "profile.updated", {"traits": TRAITS}),
    ("2026-03-02T09:05:00Z", "page.viewed", {"url": "https://www.example.com/pricing?x=1", "page_type": "pricing"}),
    ("2026-03-02T09:06:00Z", "page.viewed", {"url": "/pricing", "page_type": "pricing"}),
    ("2026-03-02T09:07:00Z", "demo.requested", {"form_id": "demo"}),
    ("2026-04-20T09:00:00Z", "crm.opportunity", {"amount": 5}),
    ("2026-04-20T10:00:00Z", "crm.lost", {}),
    ("2026-04-21T10:00:00Z", "email.unsubscribed", {"message_id": "m"}),
    ("2026-04-22T10:00:00Z", "lead.erased", {}),
]


def published() -> list[Output]:
    """Return all that one lead's story publishes, its account's too; what time alone does is revealed by the next event."""
    scorer = CompiledGrid(parse_grid(GRID, "published.yaml"), "/leadpulse/test")
    packed: dict[str, bytes | None] = {}
    outputs: list[Output] = []
    known = ("2026-03-01T09:00:00Z", "profile.updated", {"traits": {"email": "ada@acme.example"}})
    for number, (time, event_type, data) in enumerate([known, *STORY]):
        lead = "lead-1" if number else "lead-0"
        value = {
            "specversion": "1.0",
            "id": f"e-{number}",
            "source": "/s",
            "type": event_type,
            "subject": lead,
            "time": time,
        }
        event = decode(Record("lead.events.web", 0, number, None, None, json.dumps(value | {"data": data}).encode()))
        assert isinstance(event, Event)
        plan = plan_events(scorer, {lead: packed.get(lead)}, [event], clock_ms=None, find=packed.get)
        outputs += plan.outputs
        packed |= {write.lead: write.state or None for write in plan.writes}
    return outputs


def undocumented(value: Any, path: str = "") -> Iterator[str]:
    """Yield the fields of a parsed event that no model names."""
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from undocumented(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from undocumented(inner, f"{path}[]")


def test_every_published_event_is_what_its_schema_says() -> None:
    """A consumer generates code from the schema; the worker writes its JSON by hand, for speed."""
    validators = {name: Draft202012Validator(json.loads(text)) for name, text in json_schemas().items()}
    seen = set()
    for output in published():
        event = json.loads(output.value or b"")
        seen.add(event["type"])
        file = f"{event['type']}{'.published' if event['type'] == 'lead.erased' else ''}.schema.json"
        validators[file].validate(event)
        assert list(undocumented(read_output(output.value or b""))) == []
    assert seen == set(OUTPUTS)


def test_every_kind_of_reason_is_published() -> None:
    """So that the test above has seen each variant."""
    events = [json.loads(output.value or b"") for output in published()]
    kinds = {reason["kind"] for event in events for reason in event["data"].get("reasons", [])}
    assert kinds == {"fit", "rule", "velocity", "inactivity", "clamp"}


def test_dead_letters_carry_the_documented_headers() -> None:
    """After the record's own headers, under the names that the document gives."""
    bad = decode(Record("lead.events.web", 3, 7, 0, b"k", b"{", (("trace", b"1"),)))
    assert isinstance(bad, Rejected)
    letter = dead_letter("lead.dead", bad)
    assert (letter.key, letter.value, letter.headers[0]) == (b"k", b"{", ("trace", b"1"))
    told = DeadLetterHeaders.model_validate({name: held.decode() for name, held in letter.headers[1:]}, by_name=False)
    assert (told.topic, told.partition, told.offset, told.reason) == ("lead.events.web", "3", "7", "not_json")
    assert told.model_extra == {}
