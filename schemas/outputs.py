"""The events that LeadPulse publishes.

Consumers read with `isolation.level=read_committed` and ignore fields that they do not know: the contract only grows.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, create_model

from schemas.envelope import CloudEvent, Contract, Instant
from schemas.inputs import INPUTS, adapter, class_name
from worker.core.contract import output_types

Stage = Literal["contact", "mql", "sql", "opportunity", "client", "excluded"]


class Grid(Contract):
    """The grid that judged."""

    name: str
    version: int
    sha256: str = Field(description="Of the grid file's bytes.", pattern="^[0-9a-f]{64}$")


class FitReason(Contract):
    """Points of a fit rule."""

    kind: Literal["fit"]
    id: str = Field(description="The rule's id in the grid.")
    points: float


class RuleReason(Contract):
    """Points of an engagement rule, decayed to the instant of the event."""

    kind: Literal["rule"]
    id: str = Field(description="The rule's id in the grid.")
    points: float = Field(description="After decay and cap.")
    raw: float = Field(description="After decay, before the cap.")
    count: int = Field(description="Occurrences counted.", ge=0)
    last_at: Instant = Field(description="The rule's latest matching event.")


class VelocityReason(Contract):
    """Points of a velocity rule."""

    kind: Literal["velocity"]
    id: str = Field(description="The velocity rule's id in the grid.")
    points: float = Field(description="Of the highest step reached.")
    count: int = Field(description="Days, sessions, events or rise in the window.")


class InactivityReason(Contract):
    """Points lost to silence."""

    kind: Literal["inactivity"]
    points: float


class ClampReason(Contract):
    """Points cut off by a bound of the grid."""

    kind: Literal["clamp"]
    id: Literal["fit", "engagement", "score"] = Field(description="The sum that was bounded.")
    points: float


Reason = Annotated[
    FitReason | RuleReason | VelocityReason | InactivityReason | ClampReason,
    Field(discriminator="kind"),
]


class Recent(Contract):
    """One of the lead's last events."""

    time: Instant
    type: str = Field(description="The input event's type.")
    label: str = Field(description="What it was about in short, such as the page's path.")


class Move(Contract):
    """One of the lead's earlier changes of stage."""

    stage: Stage = Field(description="The stage it came to.")
    at: Instant


class Cause(Contract):
    """The input event that revealed the transition, where its producer wrote it."""

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    event_id: str = Field(description="The input event's CloudEvents id.")


class TransitionData(Contract):
    """The dossier: where the lead stands, where every point came from, who they are and what they did."""

    lead_id: str
    from_: Stage = Field(alias="from")
    to: Stage
    score: float = Field(description="clamp(fit + engagement).")
    fit: float = Field(description="Who they are: does not decay.")
    engagement: float = Field(description="What they do: decays.")
    grade: str | None = Field(
        description="Letter by fit, digit by engagement, `A1` the best; null when the grid has no grades.", examples=["B1"]
    )
    respond_by: Instant | None = Field(
        default=None,
        description="On `lead.sql`, when the grid has an `sla`: until when sales must answer.",
    )
    merged_into: str | None = Field(
        default=None,
        description="On the last `lead.stage` of a visitor that became known: the lead that its past and its future are now.",
    )
    grid: Grid
    reasons: list[Reason] = Field(
        description="Adds up to `score` (within 1e-6), clamps included. Reasons of 0 points are left out."
    )
    traits: dict[str, Any] = Field(description="What is known about the lead: dotted path → value, derived traits included.")
    recent: list[Recent] = Field(description="The last 20 events, oldest first.", max_length=20)
    history: list[Move] = Field(description="The last 20 moves before this one, oldest first.", max_length=20)
    cause: Cause | None = Field(description="Null when time alone moved the lead.")


class ErasedNotice(Contract):
    """Who was erased; nothing else, on purpose."""

    lead_id: str
    cause: Cause | None = Field(description="The `lead.erased` that was read.")


class OutputEvent(CloudEvent):
    """An event that LeadPulse publishes. Its `time` is the instant the lead moved, not the moment it was noticed."""

    id: str = Field(description="`SUBJECT:SEQ`: the same input gives the same id, so it serves to drop duplicates.")
    source: str = Field(description="`/leadpulse/NAMESPACE`.", pattern="^/leadpulse/.+")
    type: str
    datacontenttype: Literal["application/json"] | None = None
    sequence: str = Field(description="The subject's own count of outputs, from 1, in decimal.", pattern="^[1-9][0-9]*$")


class DuplicateNotice(Contract):
    """Whose address it is as well."""

    lead_id: str
    email: str = Field(description="In lower case.")
    held_by: list[str] = Field(
        description="The other leads that have it, in the order in which they said so; at most 16.", min_length=1
    )
    cause: Cause | None = Field(description="The event that told the address; null when another grid asks for it.")


class AccountMember(Contract):
    """One lead of an account, as it last told."""

    lead_id: str
    score: float
    decision_role: Literal["initiator", "influencer", "sponsor", "signatory"] | None
    at: Instant = Field(description="The lead's clock when it told this score.")


class AccountData(Contract):
    """A company: what its leads come to, and who they are."""

    account_id: str = Field(description="`account:DOMAIN`.")
    domain: str
    leads: int = Field(description="How many count: not excluded, and at or above the grid's `accounts.active`.", ge=0)
    sum: float = Field(description="Of their scores, each as last told: within `accounts.step` of what it is.")
    max: float
    roles: list[str] = Field(description="The decision roles that they cover.")
    members: list[AccountMember] = Field(description="The highest first; at most 500.", max_length=500)
    grid: Grid
    cause: Cause | None = Field(description="The event that brought it about; null when time did, or a lead that left.")


class DeadLetterHeaders(Contract):
    """Headers, in UTF-8, that `lead.dead` adds to a record that could not be read; named as Kafka Connect names them.

    Key, value and the record's own headers are as they came. What is over 900 kB is left out: the value is then a JSON object
    that gives its size and SHA-256, `{"value": {"bytes": …, "sha256": "…"}}`.
    """

    topic: str = Field(alias="__connect.errors.topic", description="Where the record was read.")
    partition: str = Field(alias="__connect.errors.partition", pattern="^[0-9]+$")
    offset: str = Field(alias="__connect.errors.offset", pattern="^[0-9]+$")
    stage: str = Field(alias="__connect.errors.stage", description="The step that failed.", examples=["VALUE_CONVERTER"])
    class_name: str = Field(alias="__connect.errors.exception.class.name", examples=["leadpulse.Rejected"])
    message: str = Field(
        alias="__connect.errors.exception.message",
        description="What is wrong, where, what was found and what was expected, for the person who mends the producer.",
        examples=['data.duration_s: the string "42"; expected a number of at least 0'],
    )
    reason: str = Field(
        alias="lp-reason",
        description=(
            "A short code: `empty`, `too_large`, `not_json`, `too_deep`, `bad_number`, `not_an_object`, `bad_envelope`, "
            "`no_subject`, `bad_time`, `bad_data`, `traits_refused` (the lead's traits would grow beyond what is kept), "
            "`aliases_refused` (the ids of its aliases would), `output_too_large` (what the record brought about was too "
            "long for any topic: the lead's state holds it), or `batch_too_large` and `batch_damaged` (the record's batch "
            "cannot be read: only the place is here)."
        ),
        pattern="^[a-z_]+$",
    )


PAYLOADS: dict[str, type[Contract]] = {
    "transition": TransitionData,
    "erasure": ErasedNotice,
    "duplicate": DuplicateNotice,
    "account": AccountData,
}
"""`OutputType.payload` → the model of `data`."""


def _model(row: output_types.OutputType) -> type[OutputEvent]:
    # A type that is read as well has its own model there, by the plain name.
    name = class_name(row.name) + ("Notice" if row.name in INPUTS else "")
    fields: dict[str, Any] = {"type": (Literal[row.name], ...), "data": (PAYLOADS[row.payload], ...)}
    return create_model(name, __base__=OutputEvent, __module__=__name__, __doc__=row.meaning, **fields)


OUTPUTS: dict[str, type[OutputEvent]] = {row.name: _model(row) for row in output_types.OUTPUTS}
"""CloudEvents type → model. Dead letters have none: they are published as they came."""

_adapter: TypeAdapter[OutputEvent] = adapter(OUTPUTS.values())


def read_output(value: bytes | str) -> OutputEvent:
    """Return the published event in *value*. Raises `pydantic.ValidationError`."""
    return _adapter.validate_json(value)
