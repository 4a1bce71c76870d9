"""The types of events that LeadPulse publishes, in one table.

A new type is a new row. All other lists of types derive from this table.
They are in settings, metrics and the topics that a grid needs. `make docs` writes those in JSON Schema and AsyncAPI.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class OutputType(NamedTuple):
    """A type of events that LeadPulse publishes. Its default topic has the same name."""

    name: str
    payload: Literal["transition", "phase", "erasure", "duplicate", "account"]
    """The model of `data`, in `schemas.outputs.PAYLOADS`."""
    meaning: str
    """For consumers."""
    example: tuple[str, str] | None = None
    """The stages, or the phases, left and entered, in the example."""
    asked_by: Literal["identity", "accounts", "phases"] | None = None
    """The section of a grid without which it is never published. `None`: every grid publishes it."""


HISTORY: Final = "lead.history"
"""Takes outputs before `LEADPULSE_SILENT_BEFORE`, whatever their type, if a topic is set for it. It has no default topic."""

ACTED: Final = "lead.acted"
"""How an act ended. `leadpulse act` publishes it, not the worker."""

DEAD_LETTERS: Final = "lead.dead"
"""The default topic of records that are no event. They are published as they came."""

OUTPUTS: Final[tuple[OutputType, ...]] = (
    OutputType("lead.mql", "transition", "The lead is ripe for marketing: `contact` → `mql`.", example=("contact", "mql")),
    OutputType("lead.sql", "transition", "The lead is ripe for sales: `mql` → `sql`. Act on this one.", example=("mql", "sql")),
    OutputType(
        "lead.cooled",
        "transition",
        "The lead went down a rung: its score fell below `leave`, or its fit below `min_fit`.",
        example=("sql", "mql"),
    ),
    OutputType(
        "lead.excluded",
        "transition",
        "An exclusion of the grid holds: leave the lead alone.",
        example=("mql", "excluded"),
    ),
    OutputType(
        "lead.stage",
        "transition",
        (
            "Every other change of stage: by the CRM, out of an exclusion, up again within the grid's `quiet`, "
            "or a visitor's last.\n\n"
            "A visitor who becomes known ends with one: `to` is `contact`, and `merged_into` names the lead."
        ),
        example=("sql", "opportunity"),
    ),
    OutputType(
        "lead.sla_breached",
        "transition",
        "Nobody answered a `lead.sql` in time. The stage does not change: `from` = `to`.",
        example=("sql", "sql"),
    ),
    OutputType(
        "lead.phase",
        "phase",
        (
            "The lead's buying phase changed: nurture it by the new one. `from` and `to` are phases of the grid.\n\n"
            "Published where the grid has `phases`. The phase stands still while the lead is excluded, an opportunity or "
            "a client."
        ),
        example=("discovery", "consideration"),
        asked_by="phases",
    ),
    OutputType("lead.erased", "erasure", "The lead was erased here: erase it downstream too."),
    OutputType(
        "lead.duplicate",
        "duplicate",
        (
            "The lead has an e-mail address that other leads have: merge them with `lead.identified`, if they "
            "are one person.\n\n"
            "Published where the grid has `identity`, once for each time that a lead gets such an address. "
            "Nobody is merged on a guess."
        ),
        asked_by="identity",
    ),
    OutputType("account.hot", "account", "The leads of a company together reached `accounts.enter`.", asked_by="accounts"),
    OutputType(
        "account.cooled",
        "account",
        "They fell below `accounts.leave` again, or leads or roles that it takes are no longer there.",
        asked_by="accounts",
    ),
)

OUTPUT_TYPES: Final = tuple(row.name for row in OUTPUTS)
"""Types that are published as CloudEvents, so all but dead letters."""
