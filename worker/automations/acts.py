"""Acts, which are done once each, and states of leads, of which only the newest counts."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from worker.automations.output import Output

State = Literal["intent", "retry", "held", "done", "dead", "cancelled", "stale", "unknown"]
"""Where an act stands in the ledger.

`intent`: written down, not tried. `retry`: failed, and will be tried again. `held`: over the rule's `max`, a person decides.
`done`: the target has it. `dead`: the target refused it for good, or it could not be written. `cancelled`: an event of the
rule's `unless` came first. `stale`: older than the rule's `fresh`. `unknown`: an answer was lost, and the target cannot tell.
"""

PENDING: Final = ("intent", "retry")
"""States in which an act waits for its turn. All others are ends, until a person decides otherwise."""


PERSON: Final = ("email", "first_name", "last_name", "name", "company.name", "phone")
"""Traits that go with each act and state, so that a CRM can find or make the contact."""


class Act(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing to do for one output: a task, a mail, a signature request. The ledger keeps it as it is."""

    rule: str
    """Id of the rule. A nurturing content has RULE/CONTENT."""
    source: str
    """The output's `source`."""
    output: str
    """The output's `id`, as in LEAD:SEQ. Of a nurturing content, the lead's id: each content goes out once a lead."""
    lead_id: str
    target: str
    """Name of the target in the connections."""
    do: str
    """What the target is to do: task, send, signature and others, by the target's kind."""
    fields: dict[str, Any]
    """The rule's `with`, written out."""
    type: str
    """The output's type, such as lead.sql."""
    at_ms: int
    """The output's `time`, from which `fresh` counts. Of a nurturing content: when it became due."""
    output_ms: int = 0
    """The output's `time` all the same; 0: `at_ms`."""
    sequence: int = 0
    """The output's `sequence`."""
    fresh_ms: int
    unless: tuple[str, ...] = ()
    """Types of outputs and events that cancel the act while it waits."""
    consent: str = ""
    """The trait that must be true for this act, or nothing."""
    most: int = 200
    """Most acts of the rule in `most_ms`. The rest is held."""
    most_ms: int = 3_600_000
    topic: str = ""
    partition: int = 0
    offset: int = 0
    """Where the output stands in Kafka."""
    person: dict[str, str] = {}
    """Traits of the lead by which a CRM finds or makes a contact: those of `PERSON` that are texts, and not empty."""
    unwritten: Output | None = None
    """The output of an act that could not be written, so that a retry writes it anew. `fields` is empty then."""

    @property
    def namespace(self) -> str:
        """The namespace of the output, where it is not the usual one. Two namespaces may use the same account."""
        name = self.source.rpartition("/")[2]
        return "" if name == "default" else name

    @property
    def content(self) -> str:
        """The content of a nurturing rule, as RULE/CONTENT; empty for another act."""
        return self.rule if "/" in self.rule and self.output == self.lead_id else ""

    @property
    def id(self) -> str:
        """What the ledger knows the act by: rule, source and output."""
        return f"{self.rule}|{self.source}|{self.output}"


class LeadState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a target is to know of a lead after an output. A newer one replaces it."""

    rule: str
    """The place of the rule under `sync`, from 0, as text."""
    target: str
    object: str
    """Of the target: contact."""
    lead_id: str
    sequence: int
    """The output's `sequence`. What is older than what was written is skipped."""
    fields: dict[str, Any]
    """The rule's `fields`, written out: the target's names and plain values."""
    output: str
    at_ms: int
    person: dict[str, str] = {}
    """As in `Act.person`."""
