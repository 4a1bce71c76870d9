"""The events that LeadPulse publishes.

Consumers read with `isolation.level=read_committed`, and ignore unknown fields, because the contract only grows.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, create_model

from schemas.envelope import CloudEvent, Contract, Instant
from schemas.inputs import INPUTS, adapter, class_name
from worker.core.contract import output_types

Stage = Literal["contact", "mql", "sql", "opportunity", "client", "excluded"]


class Grid(Contract):
    """The grid that gave this score."""

    name: str
    version: int
    sha256: str = Field(description="SHA-256 of the grid file without its labels.", pattern="^[0-9a-f]{64}$")


_ON = "The types `custom.NAME` that the rule names, as the grid writes them."


class FitReason(Contract):
    """Points of a fit rule."""

    kind: Literal["fit"]
    id: str = Field(description="The rule's id in the grid.")
    points: float
    row: str | None = Field(
        default=None, description="Of a table of points: the key or the floor of the row that the lead meets, or `else`."
    )


class RuleReason(Contract):
    """Points of an engagement rule, decayed to the instant of the event."""

    kind: Literal["rule"]
    id: str = Field(description="The rule's id in the grid.")
    points: float = Field(description="Points after decay and cap.")
    raw: float = Field(description="Points after decay, before the cap.")
    count: int = Field(description="Number of counted events. With `decay: linear` or `window`: of the 64 latest.", ge=0)
    last_at: Instant = Field(description="The rule's latest matching event.")
    on: list[str] | None = Field(default=None, description=_ON)


class VelocityReason(Contract):
    """Points of a velocity rule."""

    kind: Literal["velocity"]
    id: str = Field(description="The velocity rule's id in the grid.")
    points: float = Field(description="Points of the highest step reached.")
    count: int = Field(description="Days, sessions, events, rise or depth in the window.")
    on: list[str] | None = Field(default=None, description=_ON)


class InactivityReason(Contract):
    """Points lost to silence."""

    kind: Literal["inactivity"]
    points: float
    place: int | None = Field(default=None, description="Of several tiers: the tier's place in the grid, from 1.", ge=1)


class ClampReason(Contract):
    """Points cut off by a bound of the grid."""

    kind: Literal["clamp"]
    id: Literal["fit", "engagement", "score"] = Field(description="The sum that was bounded.")
    points: float


class GroupReason(Contract):
    """Points by which a group of rules counts otherwise than its rules alone: its cap, or only its greatest part."""

    kind: Literal["group"]
    id: str = Field(description="The group's name in the grid.")
    points: float


Reason = Annotated[
    FitReason | RuleReason | GroupReason | VelocityReason | InactivityReason | ClampReason,
    Field(discriminator="kind"),
]


class Recent(Contract):
    """One of the lead's last events."""

    time: Instant
    type: str = Field(description="The input event's type.")
    label: str = Field(description="Short subject of the event, such as the page's path.")


class Move(Contract):
    """One of the lead's earlier changes of stage."""

    stage: Stage = Field(description="The new stage.")
    at: Instant


class Factor(Contract):
    """One signal's part of the chance to be won."""

    id: str = Field(
        description="The signal: a rule's id, `ID/ROW` of a table, `inactivity`, `idle_days`. `others`: all that is not named, "
        "such as what the lead lacks. `bounds`: what the limits of a chance, 0.1 and 95 %, cut off."
    )
    times: float = Field(description="The odds are so many times those with everyone's mean of the signal.", gt=0)


class Prediction(Contract):
    """The chance that the lead is won within the model's horizon, at the instant of the output. It moves no stage."""

    p: float | None = Field(description="From 0.001 to 0.95, to three decimals. Null: see `reason`.", ge=0.001, le=0.95)
    horizon: str = Field(description="The time within which the lead is won.", examples=["90d"])
    base: float | None = Field(description="Everyone's chance, as `p`.", ge=0.001, le=0.95)
    factors: list[Factor] = Field(
        description="The strongest first. base/(1 - base) times all of them is p/(1 - p), so that p comes out to its last "
        "decimal."
    )
    reason: str | None = Field(
        default=None,
        description="Why `p` is null: `won`, `excluded`, or what the model lacks, such as `too_few_wins: 43 of 100`.",
    )


class Cause(Contract):
    """The input event that caused the output, and its place in Kafka."""

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    event_id: str = Field(description="The input event's CloudEvents id.")


class Dossier(Contract):
    """The lead at the instant of the output: the origin of every point, traits and recent events."""

    lead_id: str
    score: float = Field(description="clamp(fit + engagement).")
    fit: float = Field(description="Who the lead is; does not decay.")
    engagement: float = Field(description="What the lead does; decays.")
    grade: str | None = Field(
        description="Letter for fit, digit for engagement; `A1` is the best. Null if the grid has no grades.", examples=["B1"]
    )
    phase: str | None = Field(
        default=None,
        description="The lead's buying phase after the output, if the grid has `phases`. Null: the score is below all of them.",
    )
    grid: Grid
    reasons: list[Reason] = Field(
        description="They add up to `score` (within 1e-6), clamps included. Reasons of 0 points are left out."
    )
    prediction: Prediction | None = Field(
        default=None, description="If the grid has a model (`prediction`): the chance that the lead is won."
    )
    traits: dict[str, Any] = Field(description="The lead's traits: dotted path → value, derived traits included.")
    recent: list[Recent] = Field(description="The last 20 events, oldest first.", max_length=20)
    history: list[Move] = Field(description="The last 20 stage changes before this one, oldest first.", max_length=20)
    cause: Cause | None = Field(description="Null if time alone moved the lead.")


class TransitionData(Dossier):
    """A move from stage to stage, with the dossier."""

    from_: Stage = Field(alias="from")
    to: Stage
    respond_by: Instant | None = Field(
        default=None,
        description="Deadline of sales, on `lead.sql`, if the grid has an `sla`.",
    )
    explored: Literal[True] | None = Field(
        default=None,
        description="On a `lead.sql` below the threshold of SQL, if the grid has `explore`. The stage stays: `from` is `to`.",
    )
    merged_into: str | None = Field(
        default=None,
        description="On the last `lead.stage` of a visitor that became known: the lead for which its events now count.",
    )


class PhaseData(Dossier):
    """A move from one buying phase to another, with the dossier."""

    from_: str | None = Field(alias="from", description="The phase left. Null: the lead was in none.")
    to: str | None = Field(description="The phase entered. Null: the score is below all of them.")
    stage: Stage = Field(description="The lead's stage, which a change of phase leaves alone.")


class ErasedNotice(Contract):
    """The id that was erased, and intentionally nothing else."""

    lead_id: str
    cause: Cause | None = Field(description="The input event `lead.erased`.")


class OutputEvent(CloudEvent):
    """An event that LeadPulse publishes. Its `time` is the instant of the change, not of its detection."""

    id: str = Field(description="`SUBJECT:SEQ`. The same input gives the same id, so use it to drop duplicates.")
    source: str = Field(description="`/leadpulse/NAMESPACE`.", pattern="^/leadpulse/.+")
    type: str
    time: Instant = Field(description="The instant of the change.", examples=["2026-03-05T12:34:56.789Z"])
    datacontenttype: Literal["application/json"] | None = None
    sequence: str = Field(description="The subject's own count of outputs, from 1, in decimal digits.", pattern="^[1-9][0-9]*$")


class DuplicateNotice(Contract):
    """An e-mail address that several leads have."""

    lead_id: str
    email: str = Field(description="In lower case.")
    held_by: list[str] = Field(
        description="The other leads with this address, in the order in which they got it; at most 16.", min_length=1
    )
    cause: Cause | None = Field(description="The event that set the address; null if a grid change caused the output.")


class AccountMember(Contract):
    """One lead of an account, by its last report."""

    lead_id: str
    score: float
    decision_role: Literal["initiator", "influencer", "sponsor", "signatory"] | None
    at: Instant = Field(description="The lead's clock at the report of this score.")


class AccountData(Contract):
    """A company: the sum of its leads' scores, and its leads."""

    account_id: str = Field(description="`account:DOMAIN`.")
    domain: str
    leads: int = Field(
        description="Number of leads that count: not excluded, and at or above the grid's `accounts.active`.", ge=0
    )
    sum: float = Field(description="Sum of their last reported scores. Each is within `accounts.step` of the lead's own score.")
    max: float
    roles: list[str] = Field(description="The decision roles that these leads have.")
    members: list[AccountMember] = Field(description="The leads, the highest score first; at most 500.", max_length=500)
    grid: Grid
    cause: Cause | None = Field(description="The event that caused the change; null if time caused it, or a lead that left.")


class DeadLetterHeaders(Contract):
    """Headers in UTF-8 that `lead.dead` adds to a record that could not be read, with the names of Kafka Connect.

    Key, value and the record's own headers are unchanged. A value over 900 kB is replaced by a JSON object with its size and
    SHA-256: `{"value": {"bytes": …, "sha256": "…"}}`.
    """

    topic: str = Field(alias="__connect.errors.topic", description="Where the record was read.")
    partition: str = Field(alias="__connect.errors.partition", pattern="^[0-9]+$")
    offset: str = Field(alias="__connect.errors.offset", pattern="^[0-9]+$")
    stage: str = Field(alias="__connect.errors.stage", description="The step that failed.", examples=["VALUE_CONVERTER"])
    class_name: str = Field(alias="__connect.errors.exception.class.name", examples=["leadpulse.Rejected"])
    message: str = Field(
        alias="__connect.errors.exception.message",
        description="The fault, its place, the value found and the value expected, for the person who repairs the producer.",
        examples=['data.duration_s: the string "42"; expected a number of at least 0'],
    )
    reason: str = Field(
        alias="lp-reason",
        description=(
            "A short code: `empty`, `too_large`, `not_json`, `too_deep`, `bad_number`, `not_an_object`, `bad_envelope`, "
            "`no_subject`, `bad_time`, `bad_data`, `traits_refused` (the lead's traits would exceed their limit), "
            "`aliases_refused` (the ids of its aliases would), `output_too_large` (an output of the record was too long for "
            "any topic; the lead's state includes the change), or `batch_too_large` and `batch_damaged` (the record's batch "
            "cannot be read; only the place is given)."
        ),
        pattern="^[a-z_]+$",
    )


PAYLOADS: dict[str, type[Contract]] = {
    "transition": TransitionData,
    "phase": PhaseData,
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
"""CloudEvents type → model. Dead letters have none, because they are published unchanged."""

_adapter: TypeAdapter[OutputEvent] = adapter(OUTPUTS.values())


def read_output(value: bytes | str) -> OutputEvent:
    """Return the published event in *value*. Raises `pydantic.ValidationError`."""
    return _adapter.validate_json(value)
