"""`lead.acted`: how an act ended, as the program that acts publishes it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, TypeAdapter

from schemas.envelope import CloudEvent, Contract, Instant


class ActedData(Contract):
    """One act that has ended."""

    lead_id: str
    rule: str = Field(description="Id of the rule in the file of automations. A nurturing content is RULE/CONTENT.")
    output: str = Field(description="`id` of the output that brought the act about. Of a nurturing content: the lead's id.")
    type: str = Field(description="The output's type.", examples=["lead.sql"])
    target: str = Field(description="Name of the target in the file of connections.")
    do: str = Field(description="What the target was to do.", examples=["task"])
    outcome: Literal["done", "dead", "stale", "cancelled", "held", "unknown"] = Field(
        description="`done`: the target has it. `dead`: it was refused for good. `stale`: it was too old. `cancelled`: an event"
        " came first. `held`: over the rule's `max`. `unknown`: an answer was lost, and a person must look."
    )
    remote_id: str | None = Field(description="Id of what the target made, if it gave one.")
    seconds: float = Field(description="From the output's `time` to this end.", ge=0)
    attempts: int = Field(ge=0)


class LeadActed(CloudEvent):
    """An act has ended: a task, a mail, a contract to sign.

    Published at least once. A repeat has the same `id`. An act that a person decides on later ends a second time.
    """

    id: str = Field(description="`RULE:OUTPUT:OUTCOME`.")
    source: str = Field(description="`/leadpulse/NAMESPACE`.", pattern="^/leadpulse/.+")
    type: Literal["lead.acted"]
    time: Instant = Field(description="When it ended.")
    datacontenttype: Literal["application/json"] | None = None
    data: ActedData


ACTED_EXAMPLE: dict[str, Any] = {
    "specversion": "1.0",
    "type": "lead.acted",
    "source": "/leadpulse/default",
    "id": "call:lead-48213:2:done",
    "subject": "lead-48213",
    "time": "2026-03-05T12:34:57.120Z",
    "datacontenttype": "application/json",
    "data": {
        "lead_id": "lead-48213",
        "rule": "call",
        "output": "lead-48213:2",
        "type": "lead.sql",
        "target": "crm",
        "do": "task",
        "outcome": "done",
        "remote_id": "4711",
        "seconds": 0.331,
        "attempts": 1,
    },
}

_adapter: TypeAdapter[LeadActed] = TypeAdapter(LeadActed)


def read_acted(value: bytes | str) -> LeadActed:
    """Return the event in *value*. Raises `pydantic.ValidationError`."""
    return _adapter.validate_json(value)
