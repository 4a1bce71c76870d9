"""The file of automations as a whole: states that are kept equal, acts that are done once, and contents that nurture."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from worker.core.contract.event_types import INPUTS
from worker.core.contract.output_types import OUTPUT_TYPES
from worker.core.grid.model_base import Model
from worker.core.grid.values import Conditions, Duration, did_you_mean, duration_ms, several, shown, time_zone, wrong
from worker.core.grid.yaml_lines import Path

DEFAULT_FRESH_MS: Final = 86_400_000
DEFAULT_MAX: Final = (200, 3_600_000)

ON_TYPES: Final = tuple(name for name in OUTPUT_TYPES if name != "lead.erased")
"""Types that a rule can act on: all outputs but `lead.erased`, which leaves no lead to act on."""

MAIL_TYPES: Final = ("email.bounced", "email.unsubscribed", "email.complained", "email.subscribed")
"""Input types that say whether a person takes mail."""

CANCEL_TYPES: Final = (*ON_TYPES, *(row.name for row in INPUTS if row.name.startswith("crm.")), *MAIL_TYPES)
"""Types that can cancel an act, or end a nurturing: outputs, and the input events that the program reads."""

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_MOST: Final = re.compile(r"([0-9]{1,9})/([0-9]{0,6}[smhdw])")
_ROUND_ROBIN: Final = re.compile(r"round-robin\(\[(.*)\]\)", re.DOTALL)


def _id(name: str) -> str:
    if not _ID.fullmatch(name):
        raise wrong(f"{name!r} is no id: write letters, digits, `.`, `_` and `-`, at most 63 characters")
    return name


Id = Annotated[str, AfterValidator(_id)]


def _reader(known: tuple[str, ...]) -> Callable[[object], tuple[str, ...]]:
    def read(raw: object) -> tuple[str, ...]:
        names = (raw,) if isinstance(raw, str) else raw
        if not isinstance(names, (tuple, list)) or not names:
            raise wrong(f"write a type or a list of types, as in [lead.sql, lead.cooled]; got {shown(raw)}")
        mistakes: list[tuple[Path, str]] = []
        for place, name in enumerate(names):
            if name not in known:
                hint = did_you_mean(name, known) if isinstance(name, str) else ""
                message = f"unknown type {shown(name)}{hint or '; the types here are ' + ', '.join(known)}"
                mistakes.append((() if isinstance(raw, str) else (place,), message))
        if mistakes:
            raise several(mistakes)
        return tuple(dict.fromkeys(names))

    return read


def _word_or_list(known: tuple[str, ...]) -> WithJsonSchema:
    schema = {"enum": list(known)}
    return WithJsonSchema({"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]})


OnTypes = Annotated[tuple[str, ...], PlainValidator(_reader(ON_TYPES)), _word_or_list(ON_TYPES)]
CancelTypes = Annotated[tuple[str, ...], PlainValidator(_reader(CANCEL_TYPES)), _word_or_list(CANCEL_TYPES)]


def _most(raw: object) -> tuple[int, int]:
    """Read `50/h` into (50, 3600000): a number of acts, and the time in ms within which it counts."""
    found = _MOST.fullmatch(raw) if isinstance(raw, str) else None
    if found is None:
        raise wrong(f"{shown(raw)} is no limit: write a number, `/` and a time, as in 50/h, 200/d or 5/10m")
    within = found[2] if found[2][0].isdigit() else f"1{found[2]}"
    within_ms = duration_ms(within)
    if not within_ms:
        raise wrong(f"{raw} counts within no time at all: write a longer one, as in 50/h")
    return int(found[1]), within_ms


Most = Annotated[
    tuple[int, int], PlainValidator(_most), WithJsonSchema({"type": "string", "pattern": "^[0-9]+/[0-9]*[smhdw]$"})
]


def _owners(raw: object) -> tuple[str, ...]:
    """Read an owner, or `round-robin([…])`, into the owners to pick from."""
    if not isinstance(raw, str) or not raw.strip():
        raise wrong(f"write an owner as the CRM knows it, as in anna@example.com, or round-robin([…]); got {shown(raw)}")
    found = _ROUND_ROBIN.fullmatch(raw.strip())
    if found is None and raw.strip().startswith("round-robin"):
        raise wrong(f"{shown(raw)}: write round-robin([anna@example.com, bram@example.com])")
    names = tuple(name.strip().strip("'\"") for name in found[1].split(",")) if found else (raw.strip(),)
    if not all(names):
        raise wrong(f"{shown(raw)} has an empty owner: write round-robin([anna@example.com, bram@example.com])")
    return names


OwnerText = Annotated[tuple[str, ...], PlainValidator(_owners), WithJsonSchema({"type": "string", "minLength": 1})]


def _template_name(name: str) -> str:
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or not name.strip():
        raise wrong(f"{name!r} is no file next to the rules: write its name, as in appointment.html.j2")
    return name


TemplateName = Annotated[str, AfterValidator(_template_name)]
With = Annotated[dict[str, Any], Field(alias="with")]
Max = Annotated[Most, Field(alias="max")]


class Sync(Model):
    """A target that is kept equal to the state of each lead."""

    to: str
    """Name of a target in the connections."""
    object: Literal["contact"] = "contact"
    """Of the target."""
    fields: Annotated[dict[str, str | int | float | bool], Field(min_length=1)]
    """The target's field → an expression, such as `score`. A text is an expression, and other values stand for themselves."""


class Owners(Model):
    """The person of sales who gets a lead."""

    table: str | None = None
    """The trait that decides, such as `country`."""
    values: dict[str, OwnerText] = Field(default_factory=dict)
    """Value of the trait → owner."""
    otherwise: Annotated[OwnerText | None, Field(alias="else")] = None
    """The owner where no value fits: an owner, or `round-robin([…])` of several."""

    @model_validator(mode="after")
    def _has_owners(self) -> Owners:
        if bool(self.values) != (self.table is not None):
            raise wrong("`table` names a trait and `values` its owners: write both, or only `else`")
        if not self.values and self.otherwise is None:
            raise wrong("no owner is named: write `table` and `values`, or `else`")
        return self


class _Rule(Model):
    """What acts and nurturing rules have in common."""

    id: Id
    to: str
    """Name of a target in the connections."""
    with_: With = Field(default_factory=dict)
    """What is written: texts are templates. The keys are those of the target's action."""
    consent: str = ""
    """A trait. Only a lead whose trait is `true` gets the act."""
    fresh: Duration = DEFAULT_FRESH_MS
    """An act that is older is reported as `stale`, and not done."""
    max_: Max = DEFAULT_MAX
    """Most acts of the rule within a time. The others are `held` until a person decides."""


class ActRule(_Rule):
    """Something to do once for each output that fits."""

    on: OnTypes
    """Types of outputs."""
    where: Conditions | None = None
    """Conditions on the output's data, and on traits."""
    do: str
    """What the target is to do, such as task or send."""
    unless: CancelTypes = ()
    """Types of outputs and events that cancel the act while it waits."""


class Content(Model):
    """One content of a nurturing rule. A lead gets it at most once."""

    id: Id
    where: Conditions | None = None
    """Conditions on the lead's traits. Leads that do not meet them get the next content."""
    template: TemplateName | None = None
    """The same as `template` under `with`."""
    with_: With = Field(default_factory=dict)
    """Added to the rule's `with`, before which it goes."""


class Nurture(_Rule):
    """Contents for leads in a buying phase, one after the other."""

    phase: str
    """A phase of the grid."""
    every: Duration
    """Time from one content to the next. The first one goes out when the phase is entered."""
    do: str = "send"
    """What the target is to do."""
    contents: Annotated[tuple[Content, ...], Field(min_length=1)]
    stop: CancelTypes = ("lead.excluded",)
    """Types of outputs and events that end it, as leaving the phase does."""


class Automations(Model):
    """The file of automations."""

    timezone: Annotated[str, AfterValidator(time_zone)] = "UTC"
    """Whose clock `local` shows."""
    sync: tuple[Sync, ...] = ()
    owners: Owners | None = None
    acts: tuple[ActRule, ...] = ()
    nurture: tuple[Nurture, ...] = ()

    @model_validator(mode="after")
    def _ids_are_distinct(self) -> Automations:
        if mistakes := list(_twice({"acts": self.acts, "nurture": self.nurture})):
            raise several(mistakes)
        return self


def _twice(lists: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[Path, str]]:
    seen: dict[str, str] = {}
    for name, rules in lists.items():
        for place, rule in enumerate(rules):
            first = seen.setdefault(rule.id, f"{name}[{place}]")
            if first != f"{name}[{place}]":
                yield (
                    (name, place, "id"),
                    f"the id {rule.id!r} is given twice, first at {first}: keep one, and rename the other",
                )
            contents = [content.id for content in getattr(rule, "contents", ())]
            for number, content in enumerate(contents):
                if content in contents[:number]:
                    yield (name, place, "contents", number, "id"), f"the id {content!r} is given twice: keep one"
