"""Parts that all CRMs share: the task's keys, how a lead is recognised, and how a task is found again."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import unescape
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from pydantic import AwareDatetime, Field, ValidationError, field_validator

from worker.automations.acts import Act, LeadState
from worker.automations.requests import Again, Answer, Http, Refusal, Remember, Run, Step, Steps, Written
from worker.automations.requests import Final as Refused
from worker.automations.targets.fields import Html, Line, Text, With
from worker.core.grid.messages import shown_path, told


class Task(With):
    """A task for a salesperson, about the lead."""

    subject: Line
    """Its title."""
    body: Html = ""
    """Its description, such as `{{ dossier }}`."""
    due: AwareDatetime | None = None
    """When it must be done; absent: the output's time."""
    owner: str = ""
    """Who does it: an address, or the id that the CRM has for a user; absent: as the CRM decides."""
    priority: Literal["low", "normal", "high"] = "high"
    """`low`, `normal` or `high`."""

    @field_validator("due", mode="before")
    @classmethod
    def _nothing(cls, raw: Any) -> Any:
        return raw or None

    @field_validator("owner")
    @classmethod
    def _trimmed(cls, raw: str) -> str:
        return raw.strip()


class PlainTask(Task):
    """A task whose body is plain text."""

    body: Text = Field(default="")
    """Its description, such as `{{ dossier }}`."""


Read = TypeVar("Read", bound=With)
T = TypeVar("T")


def read_with(model: type[Read], act: Act) -> Read:
    """Return the act's `with` as *model*. Raises `Final` with the first mistake."""
    try:
        return model.model_validate(act.fields)
    except ValidationError as error:
        path, mistake = next(iter(told(error, model)))
        raise Refused(f"with.{shown_path(path)}: {mistake}") from None


def due_of(task: Task, act: Act) -> datetime:
    """Return when *task* is due, in UTC."""
    return (task.due or datetime.fromtimestamp(act.at_ms / 1_000, UTC)).astimezone(UTC)


ALIASES: Final = ("email:", "visitor:")
"""Beginnings of ids that a lead has only until a CRM's own id is known."""


def is_anonymous(lead_id: str, person: Mapping[str, str]) -> bool:
    """Return whether a lead is a browser without an address. No CRM gets a contact for it."""
    return lead_id.startswith("visitor:") and not address_of(lead_id, person)


def address_of(lead_id: str, person: Mapping[str, str]) -> str:
    """Return the lead's address in lower case, or nothing."""
    return (person.get("email") or (lead_id.removeprefix("email:") if lead_id.startswith("email:") else "")).strip().lower()


def erased_address(act: Act) -> str:
    """Return the address by which an erased lead is found; nothing for a browser, which no tool knows.

    Raises `Final` for another lead without one, since nothing can be deleted.
    """
    email = address_of(act.lead_id, act.person)
    if not email and not is_anonymous(act.lead_id, act.person):
        raise Refused("the erased lead has no address, by which it could be found here: delete the person by hand")
    return email


def names_of(lead_id: str, person: Mapping[str, str]) -> tuple[str, str]:
    """Return first and last name. Most CRMs insist on a last name, so the address stands there where none is known."""
    first, last = person.get("first_name", "").strip(), person.get("last_name", "").strip()
    if not last and (whole := person.get("name", "").split()):
        first, last = first or " ".join(whole[:-1]), whole[-1]
    if not last and first:
        first, last = "", first
    return first, last or address_of(lead_id, person) or lead_id


def cut(text: str, most: int) -> str:
    """Return *text*, at most *most* characters long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def reference(act: Act) -> str:
    """Return the words by which a task is found again where the CRM keeps no key of ours.

    Another namespace than the usual one stands first, so that its words do not begin as those of the usual one.
    """
    return " ".join(("LeadPulse", *([act.namespace] if act.namespace else []), act.rule, act.output))


def has_reference(text: Any, words: str) -> bool:
    """Return whether a task's text has the reference *words*, and not a longer reference that begins with them.

    Sales may have added to it, and HTML may be escaped.
    """
    return isinstance(text, str) and re.search(re.escape(words) + r"(?![\w:-]|\.\w)", unescape(text)) is not None


def plain(value: Any) -> str:
    """Return a field's value as the text that CRMs take: `true`, `78.5`, names joined by semicolons."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case str() | int():
            return str(value)
        case list() | tuple():
            return ";".join(plain(each) for each in value)
    return msgspec.json.encode(value).decode()


class Merged(msgspec.Struct):
    """All states of one lead in a batch, as one."""

    lead_id: str
    sequence: int
    output: str
    person: dict[str, str]
    fields: dict[str, Any]


def by_lead(states: Sequence[LeadState]) -> dict[str, Merged]:
    """Return the states by lead: a field of several rules has the newest one's value."""
    leads: dict[str, Merged] = {}
    for state in sorted(states, key=lambda one: one.sequence):
        held = leads.get(state.lead_id)
        fields = {**(held.fields if held else {}), **state.fields}
        person = state.person or (held.person if held else {})
        leads[state.lead_id] = Merged(state.lead_id, state.sequence, state.output, person, fields)
    return leads


class Record(NamedTuple):
    """A lead's record in a CRM whose fields have types."""

    lead_id: str
    person: Mapping[str, str]
    fields: Mapping[str, Any]

    @property
    def email(self) -> str:
        """The lead's address in lower case, or nothing."""
        return address_of(self.lead_id, self.person)


def records_of(states: Sequence[LeadState]) -> list[Record]:
    """Return a record of each lead in *states*. A browser without an address has none."""
    return [
        Record(lead.lead_id, lead.person, {name: natural(value) for name, value in lead.fields.items()})
        for lead in by_lead(states).values()
        if not is_anonymous(lead.lead_id, lead.person)
    ]


def written(states: Sequence[LeadState], results: Mapping[str, object]) -> list[Written]:
    """Return what became of each state, by the result of its lead: a `Refusal`, or anything else for success."""
    errors = {lead_id: result for lead_id, result in results.items() if isinstance(result, Refusal)}
    return [Written(state.lead_id, state.sequence, errors.get(state.lead_id)) for state in states]


def kept(steps: Generator[Http, Answer, T]) -> Generator[Http, Answer, T | Refusal]:
    """Return the value of *steps* for a part of a batch, or their refusal. So the other leads keep what they have.

    Raises what concerns the whole target, or the whole batch.
    """
    try:
        return (yield from steps)
    except (Again, Refused) as error:
        return error


def apart(
    leads: Iterable[str], steps: Generator[Http, Answer, Mapping[str, str | Refusal]]
) -> Generator[Http, Answer, dict[str, str | Refusal]]:
    """Return what became of *leads*, a part of a batch. A refusal of all of them is one of each; see `kept`."""
    result = yield from kept(steps)
    return dict.fromkeys(leads, result) if isinstance(result, Refusal) else dict(result)


def remembered(run: Run, name: str, steps: Generator[Step, Answer, str]) -> Steps:
    """Return the value *name* of an earlier attempt; without one, that of *steps*, which the next attempts remember."""
    known = run.known.get(name)
    if known:
        steps.close()
        return known
    found = yield from steps
    yield Remember(name, found)
    return found


def natural(value: Any) -> Any:
    """Return a field's value as JSON where the CRM's fields have types: lists become texts, all else stays as it is."""
    return value if value is None or isinstance(value, bool | int | float | str) else plain(value)
