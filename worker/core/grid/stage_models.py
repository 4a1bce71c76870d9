"""What a score leads to: the ladder with the time that sales have, and the buying phases beside it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.config import JsonDict
from pydantic_core import CoreSchema

from worker.core.grid.model_base import Model
from worker.core.grid.open_hours import Dates, TimeOfDay, Weekdays, has_long_break
from worker.core.grid.values import Duration, DurationOrNone, Identifier, Points, Quiet, duration_ms, is_points, wrong

_MOST_WEEKS: Final = 520


def without_default(schema: JsonDict) -> None:
    """Leave a placeholder out of the JSON Schema: the real default follows from another key."""
    schema.pop("default", None)


def _without_null(schema: JsonDict) -> None:
    schema["anyOf"] = [option for option in schema["anyOf"] if option != {"type": "null"}]  # type: ignore[union-attr]


def leave_is_enter(raw: Any) -> Any:
    """Return a mapping as written, with what `enter` says for an absent `leave`."""
    if isinstance(raw, Mapping) and "leave" not in raw and is_points(raw.get("enter")):
        return {**raw, "leave": raw["enter"]}
    return raw


Leave = Annotated[Points, Field(json_schema_extra=without_default)]


class Hours(Model):
    """When sales can be reached, in the grid's `timezone`."""

    days: Weekdays
    """`mon-fri`, or a list. Days of the week once read, 0 is Monday."""
    from_: Annotated[TimeOfDay, Field(alias="from")]
    """`"09:00"`, included. Minutes since midnight once read."""
    to: TimeOfDay
    """`"18:00"`, excluded. `"24:00"` is the end of the day."""
    off: Dates = ()
    """Dates without an open hour. Days since 1970-01-01 once read."""

    @model_validator(mode="after")
    def _open(self) -> Hours:
        if self.from_ >= self.to:
            raise wrong('it closes before it opens: write a later `to`, as in from: "09:00", to: "18:00"', ("to",))
        if has_long_break(self.days, self.off):
            raise wrong("no day is open for more than a year: take dates out, or open on more days of the week", ("off",))
        return self

    @property
    def week_ms(self) -> int:
        """Open time of an ordinary week."""
        return len(self.days) * (self.to - self.from_) * 60_000


class Sla(Model):
    """The time that sales have to respond."""

    within: Duration
    """Elapsed time, while open where there are `hours`: `1d` is 24 open hours."""
    hours: Hours | None = None
    """Absent: around the clock."""

    @model_validator(mode="after")
    def _ends(self) -> Sla:
        if self.hours is not None and self.within > self.hours.week_ms * _MOST_WEEKS:
            raise wrong("these hours need more than ten years for it: write a shorter time", ("within",))
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe a lone duration beside the mapping: `_sla` reads both."""
        return {"anyOf": [{"type": "string", "pattern": "^[0-9]+[smhdw]$"}, {"const": "none"}, handler(core)]}


def _sla(raw: Any) -> Any:
    """Read a lone duration as a time around the clock, `none` as no condition, and leave a mapping to the model."""
    if isinstance(raw, (Mapping, Sla)):
        return raw
    try:
        ms = duration_ms(raw)
    except ValueError as err:
        raise wrong(f"{err}; or write within and hours, as in {{within: 4h, hours: {{…}}}}") from None
    if ms == 0:
        raise wrong(f"{raw} is no time at all: write a longer one, or leave the key out")
    return None if ms is None else Sla.model_construct(within=ms)


class Rung(Model):
    """One step of the ladder; `enter` and `leave` apart keep a lead from flapping."""

    enter: Points
    leave: Leave = 0.0
    """Below it the lead steps down; absent is `enter`, filled in here already."""
    min_fit: Points | None = None
    """The fit that the rung needs. Below it the lead steps down."""
    min_engagement: Points | None = None
    """The engagement that the rung needs. Below it the lead steps down."""
    intent_within: DurationOrNone = None
    """Time within which an `intent` rule must have matched for a lead to enter; absent is no condition."""
    sla: Annotated[Sla | None, BeforeValidator(_sla), Field(json_schema_extra=_without_null)] = None
    """`sql` only: time that sales have to respond."""

    @model_validator(mode="before")
    @classmethod
    def _leave_is_enter(cls, raw: Any) -> Any:
        return leave_is_enter(raw)


class Stages(Model):
    """The ladder: the rungs that are present."""

    mql: Rung | None = None
    sql: Rung | None = None
    quiet: Quiet = 0
    """Time in which a lead is not announced twice under one name; also how long a rejected lead stays off the ladder."""


MOST_EXPLORED: Final = 0.5


class Explore(Model):
    """Hands over some leads below the threshold of SQL, so that the outcomes of such leads are known too."""

    share: Points
    """The share of leads that are chosen, by a hash of their ids: above 0, at most 0.5."""
    from_: Annotated[Points, Field(alias="from")]
    """The score from which a chosen lead is handed over, below `enter` of SQL."""

    @model_validator(mode="after")
    def _some(self) -> Explore:
        if not 0 < self.share <= MOST_EXPLORED:
            raise wrong(f"write a share above 0 and at most {MOST_EXPLORED:g}, as in 0.05; got {self.share:g}", ("share",))
        return self


class Phase(Model):
    """One buying phase. A lone number is its `enter`."""

    enter: Points
    """The score from which a lead is in it."""
    leave: Leave = 0.0
    """Below it the lead falls back; absent is `enter`, filled in here already."""

    @model_validator(mode="before")
    @classmethod
    def _number_is_enter(cls, raw: Any) -> Any:
        if isinstance(raw, (Mapping, Phase)):
            return leave_is_enter(raw)
        if is_points(raw):
            return {"enter": raw, "leave": raw}
        raise wrong("write the score from which the phase begins, as in 20, or {enter: 20, leave: 15}")

    @model_validator(mode="after")
    def _leaves_below(self) -> Phase:
        if self.leave > self.enter:
            raise wrong(f"leave {self.leave:g} is above enter {self.enter:g}: write at most {self.enter:g}", ("leave",))
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe a lone number beside the mapping."""
        return {"anyOf": [{"type": "number"}, handler(core)]}


def _rising(phases: dict[str, Phase]) -> dict[str, Phase]:
    if not phases:
        raise wrong("no phase is there: name at least one, or leave the key out")
    for (lower, one), (name, other) in pairwise(phases.items()):
        if other.enter <= one.enter:
            raise wrong(
                f"{name} begins at {other.enter:g}, and {lower} before it at {one.enter:g}: write phases by rising `enter`",
                (name,),
            )
    return phases


Phases = Annotated[dict[Identifier, Phase], AfterValidator(_rising), Field(json_schema_extra={"minProperties": 1})]
