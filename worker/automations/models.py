"""The file of automations as a whole: states that are kept equal, acts that are done once, and contents that nurture."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from worker.core.contract.event_types import INPUTS, KNOWN_TYPES
from worker.core.contract.output_types import OUTPUT_TYPES
from worker.core.grid.conditions import Where
from worker.core.grid.model_base import Model
from worker.core.grid.values import Conditions, Duration, did_you_mean, duration_ms, several, shown, time_zone, wrong
from worker.core.grid.yaml_lines import Path

C = TypeVar("C", tuple[Any, ...], dict[str, Any])

DEFAULT_FRESH_MS: Final = 86_400_000
DEFAULT_MAX: Final = (200, 3_600_000)

ON_TYPES: Final = tuple(name for name in OUTPUT_TYPES if name != "lead.erased")
"""Types that a rule can act on: all outputs but `lead.erased`, which leaves no lead to act on."""

MAIL_TYPES: Final = ("email.bounced", "email.unsubscribed", "email.complained", "email.subscribed")
"""Input types that say whether a person takes mail."""

CANCEL_TYPES: Final = (*ON_TYPES, *(row.name for row in INPUTS if row.name.startswith("crm.")), *MAIL_TYPES)
"""Types that can cancel an act, or end a nurturing: outputs, and the input events that the program reads."""

_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}
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
        mistakes: list[tuple[Path, str]] = [
            (() if isinstance(raw, str) else (place,), _unknown_type(name, known))
            for place, name in enumerate(names)
            if name not in known
        ]
        if mistakes:
            raise several(mistakes)
        return tuple(dict.fromkeys(names))

    return read


def _unknown_type(name: object, known: tuple[str, ...]) -> str:
    if not isinstance(name, str):
        return f"write a type, as in lead.sql; got {shown(name)}"
    if name == "lead.erased":
        return "lead.erased leaves no lead to act on: take it out; `forget: true` of a target deletes the person there"
    if name in KNOWN_TYPES:
        return f"{name} is an event that comes in, and rules act on what the worker publishes: write one of {', '.join(known)}"
    return f"unknown type {shown(name)}{did_you_mean(name, known) or '; the types here are ' + ', '.join(known)}"


def _word_or_list(known: tuple[str, ...]) -> WithJsonSchema:
    schema = {"enum": list(known)}
    return WithJsonSchema({"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]})


def _as_list(names: tuple[str, ...]) -> list[str]:
    return list(names)


_ListShown = PlainSerializer(_as_list)
OnTypes = Annotated[tuple[str, ...], PlainValidator(_reader(ON_TYPES)), _ListShown, _word_or_list(ON_TYPES)]
CancelTypes = Annotated[tuple[str, ...], PlainValidator(_reader(CANCEL_TYPES)), _ListShown, _word_or_list(CANCEL_TYPES)]


def duration_text(ms: int) -> str:
    """Return a duration as people write it: `4h`, `90m`."""
    unit = next(name for name, size in _UNITS.items() if ms % size == 0)
    return f"{ms // _UNITS[unit]}{unit}"


Time = Annotated[Duration, PlainSerializer(duration_text)]


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


def _most_text(most: tuple[int, int]) -> str:
    within = duration_text(most[1])
    return f"{most[0]}/{within[1:] if within in ('1d', '1h', '1m', '1s') else within}"


Most = Annotated[
    tuple[int, int],
    PlainValidator(_most),
    PlainSerializer(_most_text),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+/[0-9]*[smhdw]$"}),
]


def _consent(raw: object) -> object:
    """Return *raw*, unless it answers a question in place of naming a trait."""
    if isinstance(raw, bool) or (isinstance(raw, str) and raw.strip().lower() in ("yes", "no", "true", "false", "on", "off")):
        raise wrong(f"write the name of a trait, as in marketing_consent; got {shown(raw)}")
    return raw


def _owners(raw: object) -> tuple[str, ...]:
    """Read an owner, or `round-robin([…])`, into the owners to pick from."""
    if not isinstance(raw, str) or not raw.strip():
        raise wrong(f"write an owner as the CRM knows it, as in anna@example.com, or round-robin([…]); got {shown(raw)}")
    found = _ROUND_ROBIN.fullmatch(raw.strip())
    if found is None and re.match(r"[\w -]+\(|round", raw.strip()):
        raise wrong(f"{shown(raw)}: write round-robin([anna@example.com, bram@example.com])")
    names = tuple(name.strip().strip("'\"") for name in found[1].split(",")) if found else (raw.strip(),)
    if not all(names):
        raise wrong(f"{shown(raw)} has an empty owner: write round-robin([anna@example.com, bram@example.com])")
    return names


def _owners_text(owners: tuple[str, ...]) -> str:
    return owners[0] if len(owners) == 1 else f"round-robin([{', '.join(owners)}])"


OwnerText = Annotated[
    tuple[str, ...],
    PlainValidator(_owners),
    PlainSerializer(_owners_text),
    WithJsonSchema({"type": "string", "minLength": 1}),
]


def _where_as_written(where: Where) -> dict[str, dict[str, Any]]:
    written: dict[str, dict[str, Any]] = {}
    for condition in where.conditions:
        value = list(condition.value) if isinstance(condition.value, tuple) else condition.value
        written.setdefault(condition.path, {})[condition.op] = value
    return written


WhereText = Annotated[Conditions, PlainSerializer(_where_as_written)]


def _template_name(name: str) -> str:
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or not name.strip():
        raise wrong(f"{name!r} is no file next to the rules: write its name, as in appointment.html.j2")
    return name


def _not_empty(held: C) -> C:
    if not held:
        raise wrong("it is empty: name at least one")
    return held


TemplateName = Annotated[str, AfterValidator(_template_name)]
With = Annotated[dict[str, Any], Field(alias="with")]


class Sync(Model):
    """A target that is kept equal to the state of each lead."""

    to: str
    """Name of a target in the connections."""
    object: Literal["contact"] = "contact"
    """Of the target."""
    fields: Annotated[dict[str, str | int | float | bool], AfterValidator(_not_empty)]
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
    consent: Annotated[str, BeforeValidator(_consent)] = ""
    """A trait. Only a lead whose trait is `true` gets the act."""
    fresh: Annotated[Time, Field(json_schema_extra={"default": "24h"})] = DEFAULT_FRESH_MS
    """An act that is older is reported as `stale`, and not done."""
    max_: Annotated[Most, Field(alias="max", json_schema_extra={"default": "200/h"})] = DEFAULT_MAX
    """Most acts of the rule within a time. The others are `held` until a person decides."""


class ActRule(_Rule):
    """Something to do once for each output that fits."""

    on: OnTypes
    """Types of outputs."""
    where: WhereText | None = None
    """Conditions on the output's data, and on traits."""
    do: str
    """What the target is to do, such as task or send."""
    unless: CancelTypes = ()
    """Types of outputs and events that cancel the act while it waits."""


class Content(Model):
    """One content of a nurturing rule. A lead gets it at most once."""

    id: Id
    where: WhereText | None = None
    """Conditions on the lead's traits. Leads that do not meet them get the next content."""
    template: TemplateName | None = None
    """The same as `template` under `with`."""
    with_: With = Field(default_factory=dict)
    """Added to the rule's `with`, before which it goes."""


class Nurture(_Rule):
    """Contents for leads in a buying phase, one after the other."""

    phase: str
    """A phase of the grid."""
    every: Time
    """Time from one content to the next. The first one goes out when the phase is entered."""
    do: str = "send"
    """What the target is to do."""
    contents: Annotated[tuple[Content, ...], AfterValidator(_not_empty)]
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
