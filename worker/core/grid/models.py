"""The grid: rules, points and thresholds, read from YAML and checked whole.

`parse_grid` gives a `Grid` that nothing more has to be asked of, or a `GridError` with every mistake by file, line and path.
Durations are whole milliseconds from here on; `None` stands for `none`.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

import idna
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails, PydanticCustomError

from worker.core.contract.errors import LeadPulseError
from worker.core.contract.event_types import DATA_FIELDS
from worker.core.contract.printable import plain
from worker.core.grid.conditions import OPERATORS, Where, WhereError, parse_where
from worker.core.grid.email_kind import MailLists
from worker.core.grid.tables import zones
from worker.core.grid.velocity_kinds import KINDS
from worker.core.grid.yaml_lines import Document, Path, read_yaml

DAY_MS: Final = 86_400_000
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
_MAX_MS: Final = 36_500 * DAY_MS
_MAX_POINTS: Final = 1e9
MAX_WITHIN_DAYS: Final = max(kind.limit_days for kind in KINDS.values())

EVENT_TYPES: Final = tuple(name for name in DATA_FIELDS if name != "lead.erased")
"""The types a rule can be `on`: all that LeadPulse knows but `lead.erased`, which leaves nothing to score."""


class Mistake(NamedTuple):
    """One thing wrong with a grid, where it is, and what to do."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file  # 0: the file as a whole
        return f"{place}: {self.path + ': ' if self.path else ''}{self.message}"


class GridError(LeadPulseError):
    """A grid that cannot be used; its text is one line a mistake."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


# --- values as they are written --------------------------------------------------------------------------------------


def _wrong(message: str, at: Path = ()) -> PydanticCustomError:
    return _several([(at, message)])


def _several(mistakes: list[tuple[Path, str]]) -> PydanticCustomError:
    return PydanticCustomError("grid", "see mistakes", {"mistakes": mistakes})


def duration_ms(raw: object) -> int | None:
    """Return a duration as written (`30s 15m 4h 7d 2w`, `none`) in ms; `None` for `none`. Raises `ValueError`."""
    if raw == "none":
        return None
    found = re.fullmatch(r"([0-9]{1,12})([smhdw])", raw) if isinstance(raw, str) else None
    if found is None:
        raise ValueError(f"{_shown(raw)} is no duration: write a whole number and a unit, as in 30s, 15m, 4h, 7d, 2w, or none")
    ms = int(found[1]) * _UNIT_MS[found[2]]
    if ms > _MAX_MS:
        raise ValueError(f"{raw} is longer than 36500d: write none if it has no end")
    return ms


def _duration(*, zero: bool, none: bool) -> Callable[[object], int | None]:
    def read(raw: object) -> int | None:
        try:
            ms = duration_ms(raw)
        except ValueError as err:
            raise _wrong(str(err)) from None
        if ms is None and not none:
            raise _wrong("`none` has no meaning here: write a duration, as in 14d")
        if ms == 0 and not zero:
            raise _wrong(f"{raw} is no time at all: write a longer one, or leave the key out")
        return ms

    return read


def _quiet(raw: object) -> int:
    if raw == 0 and not isinstance(raw, bool):
        return 0
    return _duration(zero=True, none=True)(raw) or 0


def _within_days(raw: object) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([dw])", raw) if isinstance(raw, str) else None
    days = int(found[1]) * (7 if found[2] == "w" else 1) if found else 0
    if not 1 <= days <= MAX_WITHIN_DAYS:
        raise _wrong(f"within counts whole calendar days, 1d to {MAX_WITHIN_DAYS}d, as in 7d or 2w; got {_shown(raw)}")
    return days


def _where(raw: object) -> Where:
    if isinstance(raw, Where):
        return raw
    try:
        return parse_where(raw)
    except WhereError as err:
        raise _several(err.mistakes) from None


def _words(raw: object) -> object:
    """A lone word stands for a list of one."""
    if isinstance(raw, (tuple, list)):
        if not raw:
            raise _wrong("the list is empty: name at least one, or leave the key out")
        return tuple(raw)
    return (raw,) if isinstance(raw, str) else raw


def _event_type(name: str) -> str:
    if name in EVENT_TYPES:
        return name
    if name == "lead.erased":
        raise _wrong("lead.erased leaves no lead to score: take it out")
    hint = _did_you_mean(name, EVENT_TYPES) or f"; the types are {', '.join(EVENT_TYPES)}"
    raise _wrong(f"unknown event type {name!r}{hint}")


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise _wrong(f"{', '.join(twice)} given twice: keep one")
    return names


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[^\s:/](?:[^:/]{0,98}[^\s:/])?", name) or not name.isprintable():
        raise _wrong(f"{name!r} is no name: 1 to 100 printable characters, no `:` or `/`, no space at the ends")
    return name


def _timezone(name: str) -> str:
    if name not in zones():
        raise _wrong(f"unknown time zone {name!r}{_did_you_mean(name, zones())}: write an IANA name, as in Europe/Paris")
    return name


def _data_path(name: str) -> str:
    if not all(name.split(".")):
        raise _wrong(f"{name!r}: write event, day, lead or a path in the event's data, as in session_id")
    return name


def _page_pattern(pattern: str) -> str:
    if pattern[:1] not in ("/", "*") or "?" in pattern or "#" in pattern:
        raise _wrong(f"{pattern!r} can fit no url path: a path begins with / (or *) and has no host, ? or #, as in /pricing*")
    return pattern


def _domain(name: str) -> str:
    try:
        ascii_name = idna.encode(name.strip().removesuffix("."), uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        ascii_name = ""
    if "." not in ascii_name:
        raise _wrong(f"{name!r} is no domain: write it without @ or *, as in orange.fr")
    return ascii_name


def _steps(raw: object) -> tuple[tuple[float, float], ...]:
    """Read `{3: 5, 5: 10}` into pairs (reached, points), ascending."""
    if not isinstance(raw, Mapping) or not raw:
        raise _wrong(f"steps map a number reached to points, as in {{3: 5, 5: 10}}; got {_shown(raw)}")
    pairs: list[tuple[float, float]] = []
    mistakes: list[tuple[Path, str]] = []
    for key, points in raw.items():
        reached = _number_of(key)
        if reached is None or reached <= 0:
            mistakes.append(((key,), f"{key!r} is no number to reach: write one above 0"))
        if not _is_points(points):
            mistakes.append(((key,), _points_message(points)))
        elif reached is not None:
            pairs.append((reached, float(points)))
    mistakes.extend(_twice(pairs))
    if mistakes:
        raise _several(mistakes)
    return tuple(sorted(pairs))


def _bands(raw: object) -> tuple[tuple[str, float], ...]:
    """Read `{A: 35, B: 20, C: 0}` into pairs (name, floor), falling by floor."""
    if not isinstance(raw, Mapping) or not raw:
        raise _wrong(f"bands map a name to its floor, as in {{A: 35, B: 20, C: 0}}; got {_shown(raw)}")
    mistakes: list[tuple[Path, str]] = []
    pairs: list[tuple[float, str]] = []
    for name, floor in raw.items():
        if not re.fullmatch(r"\S{1,8}", name) or not name.isprintable():
            mistakes.append(((name,), f"{name!r} is no band: write a letter or a digit, as in A or 1"))
        if not _is_points(floor):
            mistakes.append(((name,), _points_message(floor)))
        else:
            pairs.append((float(floor), name))
    mistakes.extend(_twice(pairs))
    if mistakes:
        raise _several(mistakes)
    return tuple((name, floor) for floor, name in sorted(pairs, reverse=True))


def _twice(pairs: list[tuple[float, Any]]) -> list[tuple[Path, str]]:
    twice = [number for number, count in Counter(number for number, _ in pairs).items() if count > 1]
    return [((), f"{number:g} is given twice: keep one") for number in twice]


def _number_of(text: str) -> float | None:
    """Return the number that a key of a mapping spells, an `int` when it is whole."""
    if re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?[0-9]{1,9}\.[0-9]{1,9}", text) else None


def _is_points(raw: object) -> bool:
    return isinstance(raw, (int, float)) and not isinstance(raw, bool) and math.isfinite(raw) and abs(raw) <= _MAX_POINTS


def _points_message(raw: object) -> str:
    return f"write a number between -{_MAX_POINTS:.0e} and {_MAX_POINTS:.0e}, without quotes; got {_shown(raw)}"


def _points(raw: object) -> float:
    if isinstance(raw, (int, float)) and _is_points(raw):
        return float(raw)
    raise _wrong(_points_message(raw))


def _above_zero(number: float) -> float:
    if number <= 0:
        raise _wrong(f"{number:g} leaves nothing: a cap is a number above 0, compared with the sum without its sign")
    return number


def _shown(raw: object) -> str:
    match raw:
        case None:
            return "null"
        case bool():
            return str(raw).lower()
        case Mapping():
            return "a mapping" if raw else "an empty mapping"
        case tuple() | list():
            return "a list" if raw else "an empty list"
        case _:
            return repr(raw) if len(repr(raw)) <= 80 else repr(raw)[:80] + "…"


def _did_you_mean(word: str, words: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


# --- the models ------------------------------------------------------------------------------------------------------

_DURATION_PATTERN: Final = "^[0-9]+[smhdw]$"
_SCALAR_SCHEMA: Final[dict[str, Any]] = {"type": ["string", "number", "boolean"]}
_LIST_SCHEMA: Final[dict[str, Any]] = {"type": "array", "items": _SCALAR_SCHEMA, "minItems": 1}
_OPERAND_SCHEMA: Final[dict[str, dict[str, Any]]] = {
    "eq": _SCALAR_SCHEMA,
    "not": {"anyOf": [_SCALAR_SCHEMA, _LIST_SCHEMA]},
    "in": _LIST_SCHEMA,
    "matches": {"type": "string", "format": "regex"},
    "exists": {"type": "boolean"},
} | {op: {"type": ["string", "number"]} for op in ("gt", "gte", "lt", "lte")}
_WHERE_SCHEMA: Final[dict[str, Any]] = {
    "description": "Path → value, list (any of) or operators. All must hold.",
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {
        "anyOf": [
            _SCALAR_SCHEMA,
            _LIST_SCHEMA,
            {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {op: _OPERAND_SCHEMA[op] for op in OPERATORS},
            },
        ]
    },
}
_NUMBERS_SCHEMA: Final[dict[str, Any]] = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "number"}}


def _word_or_list(items: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [items, {"type": "array", "items": items, "minItems": 1}]}


_DURATION_SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": _DURATION_PATTERN}
_DURATION_OR_NONE_SCHEMA: Final[dict[str, Any]] = {"anyOf": [_DURATION_SCHEMA, {"const": "none"}]}

Points = Annotated[float, BeforeValidator(_points), WithJsonSchema({"type": "number"})]
Identifier = Annotated[str, AfterValidator(_identifier)]
Duration = Annotated[int, BeforeValidator(_duration(zero=False, none=False)), WithJsonSchema(_DURATION_SCHEMA)]
DurationFromZero = Annotated[int, BeforeValidator(_duration(zero=True, none=False)), WithJsonSchema(_DURATION_SCHEMA)]
DurationOrNone = Annotated[
    int | None, BeforeValidator(_duration(zero=False, none=True)), WithJsonSchema(_DURATION_OR_NONE_SCHEMA)
]
Quiet = Annotated[int, BeforeValidator(_quiet), WithJsonSchema({"anyOf": [_DURATION_SCHEMA, {"enum": ["none", 0]}]})]
WithinDays = Annotated[int, BeforeValidator(_within_days), WithJsonSchema({"type": "string", "pattern": "^[0-9]+[dw]$"})]
Conditions = Annotated[Where, PlainValidator(_where), WithJsonSchema(_WHERE_SCHEMA)]
EventTypes = Annotated[
    tuple[Annotated[str, AfterValidator(_event_type)], ...],
    BeforeValidator(_words),
    AfterValidator(_distinct),
    WithJsonSchema(_word_or_list({"enum": list(EVENT_TYPES)})),
]
PagePatterns = Annotated[
    tuple[Annotated[str, AfterValidator(_page_pattern)], ...],
    BeforeValidator(_words),
    WithJsonSchema(_word_or_list({"type": "string", "pattern": "^[/*][^?#]*$"})),
]
Steps = Annotated[
    tuple[tuple[float, float], ...],
    PlainValidator(_steps),
    WithJsonSchema({**_NUMBERS_SCHEMA, "propertyNames": {"pattern": "^[0-9]+(\\.[0-9]+)?$"}}),
]
Bands = Annotated[
    tuple[tuple[str, float], ...],
    PlainValidator(_bands),
    WithJsonSchema({**_NUMBERS_SCHEMA, "propertyNames": {"pattern": "^\\S{1,8}$"}}),
]
Domains = Annotated[
    tuple[Annotated[str, AfterValidator(_domain)], ...],
    BeforeValidator(_words),
    AfterValidator(_distinct),
    WithJsonSchema(_word_or_list({"type": "string", "format": "hostname"})),
]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_by_alias=True, validate_by_name=False, use_attribute_docstrings=True
    )


class Clamp(_Model):
    """Limits of a sum; an absent one is no limit."""

    min: Points | None = None
    max: Points | None = None


class FitRule(_Model):
    """Points for what a lead is: they count while the traits match."""

    id: Identifier
    points: Points
    where: Conditions


class Fit(Clamp):
    """Who they are. Never decays."""

    rules: tuple[FitRule, ...] = ()


class Rule(_Model):
    """Points for what a lead does."""

    id: Identifier
    points: Points
    on: EventTypes
    where: Conditions | None = None
    once_per: Annotated[str, AfterValidator(_data_path)] = "event"
    """`event`, `day`, `lead`, or a path in the event's data."""
    half_life: DurationOrNone = None
    """Time in which the sum halves; `none` is no decay; absent is the default of `engagement`, filled in here already."""
    cap: Annotated[Points, AfterValidator(_above_zero)] | None = None
    """The most that the rule's sum may be, without its sign."""
    expires_after: DurationOrNone = None
    """Time after the latest matching event at which the whole sum is 0."""
    intent: bool = False
    """Its events show an intent to buy: `stages.sql.intent_within` asks for one."""


class Engagement(Clamp):
    """What they do."""

    half_life: DurationOrNone = None
    """Default of the rules; `none` or absent is no decay."""
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _default_half_life(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("rules"), tuple):
            return raw
        try:
            duration_ms(raw.get("half_life", "none"))
        except ValueError:
            return raw  # told once, at the default itself
        default = {"half_life": raw.get("half_life", "none")}
        return {**raw, "rules": tuple({**default, **rule} if isinstance(rule, Mapping) else rule for rule in raw["rules"])}


class Velocity(_Model):
    """Points for the pace at which a lead acts."""

    id: Identifier
    on: EventTypes
    where: Conditions | None = None
    count: Literal["days", "sessions", "events", "rise"]
    within_days: Annotated[WithinDays, Field(alias="within")]
    """Calendar days, today included."""
    steps: Steps
    """(number reached, points), ascending: the highest one reached counts."""


class Inactivity(_Model):
    """Points taken off a lead that no longer does anything."""

    after: DurationFromZero
    every: DurationOrNone = None
    """Absent: once only."""
    points: Points
    min: Points | None = None


class Exclusion(_Model):
    """What takes a lead out of the race whatever the score."""

    id: Identifier
    where: Conditions | None = None
    on: EventTypes | None = None


def _without_default(schema: JsonDict) -> None:
    schema.pop("default", None)


class Rung(_Model):
    """One step of the ladder; `enter` and `leave` apart keep a lead from flapping."""

    enter: Points
    leave: Points = Field(default=0.0, json_schema_extra=_without_default)
    """Below it the lead steps down; absent is `enter`, filled in here already."""
    min_fit: Points | None = None
    intent_within: DurationOrNone = None
    """`sql` only: time within which an `intent` rule must have matched; absent is no condition."""
    sla: DurationOrNone = None
    """`sql` only: time that sales have to respond."""

    @model_validator(mode="before")
    @classmethod
    def _leave_is_enter(cls, raw: Any) -> Any:
        return _with_leave(raw)


def _with_leave(raw: Any) -> Any:
    if isinstance(raw, Mapping) and "leave" not in raw and _is_points(raw.get("enter")):
        return {**raw, "leave": raw["enter"]}
    return raw


class Stages(_Model):
    """The ladder: the rungs that are present."""

    mql: Rung | None = None
    sql: Rung | None = None
    quiet: Quiet = 0
    """Time in which a lead is not announced twice under one name; also how long a rejected lead stays off the ladder."""


class Grades(_Model):
    """Bands by name and floor, falling: a letter for fit, a digit for engagement."""

    fit: Bands
    engagement: Bands


def _above_zero_points(number: float) -> float:
    if number <= 0:
        raise _wrong(f"{number:g} is no step: write a number above 0, as in 5")
    return number


class Accounts(_Model):
    """Leads with the same `company.domain`, taken together."""

    enter: Points
    """The sum of their scores from which on the account is hot."""
    leave: Points = Field(default=0.0, json_schema_extra=_without_default)
    """Below it the account cools; absent is `enter`, filled in here already."""
    active: Points = 1.0
    """A lead counts from this score on, unless it is excluded."""
    min_leads: Annotated[int, Field(ge=1, le=500)] = 1
    """So many leads must count."""
    roles: tuple[Literal["initiator", "influencer", "sponsor", "signatory"], ...] = ()
    """Decision roles (trait `decision_role`) that must all be among them."""
    step: Annotated[Points, AfterValidator(_above_zero_points)] = 5.0
    """A lead tells its account when its score has moved by so much."""

    @model_validator(mode="before")
    @classmethod
    def _leave_is_enter(cls, raw: Any) -> Any:
        return _with_leave(raw)


class Identity(_Model):
    """What an e-mail address says about who is who."""

    email: Literal["report", "link"]
    """`report`: a lead with an address that another has is told of by `lead.duplicate`. `link`: also, what comes for the id
    `email:ADDRESS` is that of the one lead with this address."""


class _MailDomains(MailLists):
    """A grid's own mail domains, beside the kept-up lists."""

    free: Domains = ()
    disposable: Domains = ()
    business: Domains = ()


class GridFile(_Model):
    """The grid as written."""

    grid: Identifier
    version: Annotated[int, Field(ge=0, le=2**53)]
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    """Whose midnight `days` and `once_per: day` mean."""
    pages: dict[str, PagePatterns] = Field(default_factory=dict)
    """Page type → patterns of url paths; the first type that fits wins."""
    score: Clamp = Clamp()
    fit: Fit = Fit()
    engagement: Engagement = Engagement()
    velocity: tuple[Velocity, ...] = ()
    inactivity: Inactivity | None = None
    exclusions: tuple[Exclusion, ...] = ()
    stages: Stages = Stages()
    grades: Grades | None = None
    mail: _MailDomains = _MailDomains()
    identity: Identity | None = None
    accounts: Accounts | None = None
    retention: DurationOrNone = None
    """Time without an event after which a lead that is a contact is removed; `none` or absent keeps it for ever."""


class Grid(GridFile):
    """A checked grid with where it came from."""

    sha256: str
    """Of the file's bytes: two grids with one hash judge alike."""
    source: bytes
    """Those bytes: whoever holds them can judge as this grid does."""


# --- reading ---------------------------------------------------------------------------------------------------------


def parse_grid(text: str | bytes, file: str) -> Grid:
    """Read and check a grid; *file* names it in mistakes. Raises `GridError` with every mistake, by line."""
    source = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    document = read_yaml(source)
    found = list(document.mistakes)
    if not document.lines:  # no YAML at all: nothing more can be said
        raise GridError([Mistake(file, line, shown_path(path), plain(message)) for line, path, message in found])
    grid: GridFile | None = None
    if not isinstance(document.data, dict):
        found.append((1, (), f"write a mapping that begins with `grid: NAME` and `version: 1`; got {_shown(document.data)}"))
    else:
        try:
            grid = GridFile.model_validate(document.data)
        except ValidationError as err:
            found.extend((document.line(path), path, message) for path, message in _told(err, document))
        found.extend((document.line(path), path, message) for path, message in _across(document.data))
    if found or grid is None:
        # Mistakes of one line in the order they were found; the same one is told once.
        unique = dict.fromkeys(sorted(found, key=lambda one: one[0]))
        raise GridError([Mistake(file, line, shown_path(path), plain(message)) for line, path, message in unique])
    values = {name: getattr(grid, name) for name in GridFile.model_fields}
    return Grid.model_construct(**values, sha256=hashlib.sha256(source).hexdigest(), source=source)


def shown_path(path: Path) -> str:
    """Return a path as people write it: `engagement.rules[3].half_life`."""
    return plain("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix("."))


def _told(err: ValidationError, document: Document) -> Iterator[tuple[Path, str]]:
    """Say pydantic's errors in the words of the grid, at the paths as written."""
    for error in err.errors(include_url=False):
        path = error["loc"]
        if error["type"] == "grid":
            for inner, message in error["ctx"]["mistakes"]:
                yield (*path, *inner), message
        else:
            yield path, _message(error, document)


def _message(error: ErrorDetails, document: Document) -> str:
    got = _shown(error["input"])
    match error["type"]:
        case "missing":
            return f"`{error['loc'][-1]}` is missing: add it"
        case "extra_forbidden":
            model = _model_at(error["loc"][:-1])
            known = [field.alias or name for name, field in model.model_fields.items()]
            key = str(error["loc"][-1])
            return f"unknown key {key!r}{_did_you_mean(key, known)}; the keys here are {', '.join(known)}"
        case "string_type":
            return f'write a word, in quotes if it looks like something else, as in "404"; got {got}'
        case "int_type" | "int_from_float":
            return f"write a whole number; got {got}"
        case "bool_type":
            return f"write true or false; got {got}"
        case "tuple_type":
            return f"write a list; got {got}"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"write a mapping (key: value); got {got}"
        case "literal_error":
            expected = error["ctx"]["expected"]
            return f"write {expected}; got {got}"
        case _:
            return f"{error['msg']}; got {got}"


def _model_at(path: Path) -> type[BaseModel]:
    """Return the model that describes the mapping at *path*."""
    model: type[BaseModel] = GridFile
    for part in path:
        for name, info in model.model_fields.items():
            if part in (name, info.alias):
                model = next(_models_in(info.annotation))
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _across(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Check what no single value shows. Works on the data as written, so that it also speaks when something else is wrong."""
    seen: dict[str, str] = {}
    for path, rule in _rules(data):
        name = rule.get("id")
        if isinstance(name, str):
            if name in seen:
                yield (*path, "id"), f"the id {name!r} is taken by {seen[name]}: ids are unique in the whole grid"
            else:
                seen[name] = shown_path(path)
        count = rule.get("count")
        if path[0] == "velocity" and isinstance(count, str) and count in KINDS:
            try:
                days = _within_days(rule.get("within"))
            except PydanticCustomError:
                continue  # told at `within`
            limit = KINDS[count].limit_days
            if days > limit:
                yield (*path, "within"), f"{count} are kept for {limit} days: write at most {limit}d"
        if path[0] == "exclusions" and "where" not in rule and "on" not in rule:
            yield path, "an exclusion needs `where` (traits that exclude), `on` (events that do), or both"
    for name in ("score", "fit", "engagement"):
        section = data.get(name)
        if isinstance(section, Mapping):
            low, high = section.get("min"), section.get("max")
            if _is_points(low) and _is_points(high) and low > high:  # type: ignore[operator]  # `_is_points` has checked both
                yield (name, "min"), f"min {low:g} is above max {high:g}: swap them"
    idle = data.get("inactivity")
    if isinstance(idle, Mapping) and _is_points(low := idle.get("min")) and low > 0:  # type: ignore[operator]  # checked
        yield (
            ("inactivity", "min"),
            f"min {low:g} is above 0, so silence gives points: write min: -{low:g}",
        )
    stages = data.get("stages")
    mql = stages.get("mql") if isinstance(stages, Mapping) else None
    if isinstance(mql, Mapping):
        for key in ("intent_within", "sla"):
            if key in mql:
                yield ("stages", "mql", key), f"`{key}` belongs to sql only: move it there"
    yield from _mail_twice(data.get("mail"))


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    places: tuple[tuple[Path, object], ...] = (
        (("fit", "rules"), data["fit"].get("rules") if isinstance(data.get("fit"), Mapping) else None),
        (("engagement", "rules"), data["engagement"].get("rules") if isinstance(data.get("engagement"), Mapping) else None),
        (("velocity",), data.get("velocity")),
        (("exclusions",), data.get("exclusions")),
    )
    for path, rules in places:
        for i, rule in enumerate(rules if isinstance(rules, tuple) else ()):
            if isinstance(rule, Mapping):
                yield (*path, i), rule


def _mail_twice(mail: object) -> Iterator[tuple[Path, str]]:
    seen: dict[str, str] = {}
    for kind in ("free", "disposable", "business"):
        names = mail.get(kind) if isinstance(mail, Mapping) else None
        for i, name in enumerate(names if isinstance(names, tuple) else ()):
            if isinstance(name, str) and seen.setdefault(name.lower(), kind) != kind:
                yield ("mail", kind, i), f"{name} is also in `{seen[name.lower()]}`: keep one"


def grid_schema() -> dict[str, Any]:
    """Return the JSON Schema of a grid as written, for editors of the YAML."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | GridFile.model_json_schema(by_alias=True) | {"title": "LeadPulse grid"}
