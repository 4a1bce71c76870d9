"""The grid: rules, points and thresholds, read from YAML and checked whole.

`parse_grid` gives a `Grid` without mistakes, or a `GridError` with every mistake by file, line and path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic.config import JsonDict

from worker.core.grid.content import content_sha256
from worker.core.grid.counting import Decay, Group, OncePer, Weigh, default_decay, with_half_life
from worker.core.grid.cross_checks import across
from worker.core.grid.email_kind import MailLists
from worker.core.grid.labels import LabelText
from worker.core.grid.messages import GridError, told
from worker.core.grid.model_base import Model as _Model
from worker.core.grid.model_base import WrittenSchema
from worker.core.grid.model_text import Written, with_model
from worker.core.grid.point_tables import PointsOrTable
from worker.core.grid.prediction import Prediction, misfits
from worker.core.grid.stage_models import Explore, Leave, Phases, Stages, leave_is_enter
from worker.core.grid.values import (
    Bands,
    Conditions,
    Domains,
    DurationFromZero,
    DurationOrNone,
    EventTypes,
    Identifier,
    PagePatterns,
    Points,
    Steps,
    TraitNames,
    WithinDays,
    above_zero,
    above_zero_step,
    one_or_more,
    time_zone,
)
from worker.core.grid.yaml_lines import Path
from worker.core.grid.yaml_model import mistakes, read_model


class Clamp(_Model):
    """Limits of a sum; an absent one is no limit."""

    min: Points | None = None
    max: Points | None = None


class FitRule(_Model):
    """Points for what a lead is: they count while the traits match."""

    id: Identifier
    points: PointsOrTable
    """A number, or a table of points by the value of a trait."""
    where: Conditions | None = None
    """Absent only beside a table: always holds."""
    group: str | None = None
    """Name in `groups` of what bounds this rule and others together."""
    label: LabelText | None = None
    """What people call the rule: a text, or texts by language."""


class Fit(Clamp):
    """Who they are. Never decays."""

    rules: tuple[FitRule, ...] = ()


class Rule(_Model):
    """Points for what a lead does."""

    id: Identifier
    points: Points
    on: EventTypes
    where: Conditions | None = None
    once_per: OncePer = "event"
    """`event`, `day`, `lead`, a path in the event's data, or several: then one event counts per combination."""
    weigh: Weigh | None = None
    """An event counts a number of its data instead of 1."""
    half_life: DurationOrNone = None
    """Time in which the sum halves; `none` is no decay; absent is the default of `engagement`, filled in here already."""
    decay: Decay | None = None
    """`linear` or `window`; `half_life` here is the same as beside it, where it is filled in already."""
    cap: Annotated[Points, AfterValidator(above_zero)] | None = None
    """The most that the rule's sum may be, without its sign."""
    expires_after: DurationOrNone = None
    """Time after the latest matching event at which the whole sum is 0."""
    intent: bool = False
    """Its events show an intent to buy: `intent_within` of a rung asks for one."""
    group: str | None = None
    """Name in `groups` of what bounds this rule and others together."""
    label: LabelText | None = None

    @model_validator(mode="before")
    @classmethod
    def _half_life_either_way(cls, raw: Any) -> Any:
        return with_half_life(raw)


class Engagement(Clamp):
    """What they do."""

    half_life: DurationOrNone = None
    """Default of the rules; `none` or absent is no decay."""
    decay: Decay | None = None
    """The same, for any way to fade."""
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _default_of_rules(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("rules"), tuple):
            return raw
        default = default_decay(raw)
        if default is None:
            return raw
        own = ("half_life", "decay")
        rules = (
            rule if not isinstance(rule, Mapping) or any(name in rule for name in own) else {**default, **rule}
            for rule in raw["rules"]
        )
        return {**raw, "rules": tuple(rules)}


class Velocity(_Model):
    """Points for the pace at which a lead acts."""

    id: Identifier
    on: EventTypes
    where: Conditions | None = None
    count: Literal["days", "sessions", "events", "rise", "depth"]
    within_days: Annotated[WithinDays, Field(alias="within")]
    """Calendar days, today included."""
    steps: Steps
    """(number reached, points), ascending: the highest one reached counts."""
    label: LabelText | None = None


class Inactivity(_Model):
    """Points taken off a lead that no longer does anything."""

    after: DurationFromZero
    every: DurationOrNone = None
    """Absent: once only."""
    points: Points
    min: Points | None = None


def _tiers_schema(schema: JsonDict) -> None:
    tier = schema.pop("items")
    del schema["type"]
    schema["anyOf"] = [tier, {"type": "array", "items": tier, "minItems": 1}]


Tiers = Annotated[tuple[Inactivity, ...], BeforeValidator(one_or_more), Field(json_schema_extra=_tiers_schema)]


class Exclusion(_Model):
    """What takes a lead out of the race whatever the score."""

    id: Identifier
    where: Conditions | None = None
    on: EventTypes | None = None
    until: EventTypes | None = None
    """Only with `on`: a later event of these types ends the exclusion, whatever its data."""
    label: LabelText | None = None


class Grades(_Model):
    """Bands by name and floor, falling: a letter for fit, a digit for engagement."""

    fit: Bands
    engagement: Bands


class Accounts(_Model):
    """Leads with the same `company.domain`, taken together."""

    enter: Points
    """The sum of their scores from which on the account is hot."""
    leave: Leave = 0.0
    """Below it the account cools; absent is `enter`, filled in here already."""
    active: Points = 1.0
    """A lead counts from this score on, unless it is excluded."""
    min_leads: Annotated[int, Field(ge=1, le=500)] = 1
    """So many leads must count."""
    roles: tuple[Literal["initiator", "influencer", "sponsor", "signatory"], ...] = ()
    """Decision roles (trait `decision_role`) that must all be among them."""
    step: Annotated[Points, AfterValidator(above_zero_step)] = 5.0
    """A lead tells its account when its score has moved by so much."""

    @model_validator(mode="before")
    @classmethod
    def _leave_is_enter(cls, raw: Any) -> Any:
        return leave_is_enter(raw)


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
    timezone: Annotated[str, AfterValidator(time_zone)] = "UTC"
    """Whose midnight `days` and `once_per: day` mean."""
    pages: dict[str, PagePatterns] = Field(default_factory=dict)
    """Page type → patterns of url paths; the first type that fits wins."""
    hash_routes: bool = False
    """The path of a page is in the fragment of its url, as in `/app#/pricing`."""
    traits: TraitNames = ()
    """Traits of your own sources, which the lint then takes as meant."""
    labels: dict[str, LabelText] = Field(default_factory=dict)
    """Page type → what people call it."""
    score: Clamp = Clamp()
    fit: Fit = Fit()
    engagement: Engagement = Engagement()
    groups: dict[str, Group] = Field(default_factory=dict)
    """Name → what the rules with this `group` are worth together."""
    velocity: tuple[Velocity, ...] = ()
    inactivity: Tiers = ()
    """One tier, or a list of tiers whose points add up."""
    exclusions: tuple[Exclusion, ...] = ()
    stages: Stages = Stages()
    phases: Phases = Field(default_factory=dict)
    """Buying phase → the score from which it begins, rising; for nurturing, beside the ladder."""
    grades: Grades | None = None
    mail: _MailDomains = _MailDomains()
    identity: Identity | None = None
    accounts: Accounts | None = None
    explore: Explore | None = None
    prediction: Prediction | None = None
    retention: DurationOrNone = None
    """Time without an event after which a lead that is a contact is removed; `none` or absent keeps it for ever."""


class Grid(GridFile):
    """A checked grid with where it came from."""

    sha256: str
    """Of the file without its labels (`content_sha256`): two grids with one hash judge alike."""
    source: bytes
    """The file's bytes, with the text of its model in place of that file's name. They suffice to judge as this grid does."""


def parse_grid(text: str | bytes, file: str, model: bytes | str | None = None) -> Grid:
    """Read and check a grid; *file* names it in mistakes. Raises `GridError` with every mistake, by line.

    *model*: the content of the file that `prediction` names, or why it cannot be read. A grid that was kept holds its model.
    """
    written = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    source, of_model = with_model(Written(written, model), file)
    shape = "a mapping that begins with `grid: NAME` and `version: 1`"
    try:
        grid, document = read_model(source, file, GridFile, shape=shape, error=GridError, words=_words, across=across)
    except GridError as err:
        raise GridError([*err.mistakes, *of_model]) from None
    wrong = [*of_model, *mistakes(((document.line(path), path, message) for path, message in misfits(grid)), file)]
    if wrong:
        raise GridError(wrong)
    values = {name: getattr(grid, name) for name in GridFile.model_fields}
    return Grid.model_construct(**values, sha256=content_sha256(source), source=source)


def _words(error: ValidationError, data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for path, message in told(error, GridFile):
        yield _as_written(path, data), message


def _as_written(path: Path, data: Mapping[str, Any]) -> Path:
    """Return the path of a mistake in the file: a lone tier of inactivity stands in no list there."""
    return ("inactivity", *path[2:]) if path[:1] == ("inactivity",) and isinstance(data["inactivity"], Mapping) else path


def grid_schema() -> dict[str, Any]:
    """Return the JSON Schema of a grid as written, for editors of the YAML."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | GridFile.model_json_schema(by_alias=True, schema_generator=WrittenSchema) | {"title": "LeadPulse grid"}
