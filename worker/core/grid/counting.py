"""What a rule of the grid may say about how its events count: weight, decay, what counts once, and its group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from worker.core.grid.model_base import Model
from worker.core.grid.values import Duration, DurationOrNone, Points, data_path, duration_ms, several, shown, wrong
from worker.core.grid.yaml_lines import Path

DECAYS: Final = ("half_life", "linear", "window")


class Weigh(Model):
    """What an event counts instead of 1: a number of its data, within bounds."""

    path: Annotated[str, AfterValidator(data_path)]
    """Path in the event's data. A missing value, or one that is no number, counts 0."""
    min: Points
    """No event counts less."""
    max: Points
    """No event counts more."""
    times: Points = 1.0
    """The value is multiplied by it before the bounds."""


class Decay(Model):
    """How an event's worth fades with age: exactly one of the three."""

    half_life: DurationOrNone = None
    """Time in which it halves; the same as `half_life` beside it."""
    linear: Duration | None = None
    """Time in which it falls to nothing in a straight line."""
    window: Duration | None = None
    """Time for which it is whole; then it is nothing."""


def _only_true(value: bool) -> bool:
    if not value:
        raise wrong("write best: true, or a cap in its place")
    return value


def _cap(number: float) -> float:
    if number < 0:
        raise wrong(f"{number:g} is below 0: a group's cap is compared with the sum without its sign")
    return number


class Group(Model):
    """What several rules are worth together: exactly one of the two."""

    cap: Annotated[Points, AfterValidator(_cap)] | None = None
    """The most that their sum may be, without its sign."""
    best: Annotated[bool, AfterValidator(_only_true)] | None = None
    """`true`: only the part with the greatest magnitude counts."""


def one_way(decay: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the keys of a `decay` as written; `None`: nothing."""
    if sum(name in decay for name in DECAYS) == 1 or not set(decay) <= set(DECAYS):  # what is unknown is said at its key
        return None
    return "write exactly one of half_life, linear and window, as in decay: {linear: 60d}"


def default_decay(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `engagement` as written gives to rules that say nothing; `None` where it is wrong, which is said there."""
    if "decay" not in raw:
        half_life = raw.get("half_life", "none")
        return {"half_life": half_life} if _is_duration(half_life, none=True) else None
    decay = raw["decay"]
    if "half_life" in raw or not isinstance(decay, Mapping) or one_way(decay) or not set(decay) <= set(DECAYS):
        return None
    ((name, span),) = decay.items()
    return {"decay": decay} if _is_duration(span, none=name == "half_life") else None


def with_half_life(raw: Any) -> Any:
    """Return a rule as written with `half_life: X` in place of `decay: {half_life: X}`: they are the same."""
    if not isinstance(raw, Mapping) or "half_life" in raw or not isinstance(raw.get("decay"), Mapping):
        return raw
    decay = raw["decay"]
    if set(decay) != {"half_life"} or not _is_duration(decay["half_life"], none=True):
        return raw
    return {**{name: value for name, value in raw.items() if name != "decay"}, "half_life": decay["half_life"]}


def _is_duration(raw: object, *, none: bool) -> bool:
    try:
        ms = duration_ms(raw)
    except ValueError:
        return False
    return none if ms is None else ms > 0


def _once_per(raw: object) -> str | tuple[str, ...]:
    """Read one word or path, or a list of them. A list of one is that one."""
    if isinstance(raw, str):
        return data_path(raw)
    if not isinstance(raw, (tuple, list)):
        raise wrong(f"write event, day, lead or a path in the event's data, or a list of them; got {shown(raw)}")
    if not raw:
        raise wrong("the list is empty: name at least one, or leave the key out")
    mistakes: list[tuple[Path, str]] = []
    for place, word in enumerate(raw):
        if not isinstance(word, str):
            mistakes.append(((place,), f"write day, lead or a path in the event's data; got {shown(word)}"))
        elif word == "event":
            mistakes.append(((place,), "`event` counts each event, so nothing else can hold it back: take it out of the list"))
        else:
            try:
                data_path(word)
            except PydanticCustomError as err:
                mistakes.extend(((place, *at), message) for at, message in (err.context or {})["mistakes"])
    twice = [str(word) for word, count in Counter(map(str, raw)).items() if count > 1]
    if twice:
        mistakes.append(((), f"{', '.join(twice)} given twice: keep one"))
    if mistakes:
        raise several(mistakes)
    return raw[0] if len(raw) == 1 else tuple(raw)


OncePer = Annotated[
    str | tuple[str, ...],
    PlainValidator(_once_per),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
