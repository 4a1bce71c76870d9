"""What a rule and a velocity count of a lead's events, as the oracle understands it from the contract alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.kit.oracle_values import (
    MISSING,
    as_list,
    as_text,
    clamp,
    condition,
    day,
    days_of,
    duration,
    in_data,
    number,
)

REMEMBERED = 64
SESSIONS_A_DAY = 16
MOST_DEPTH = 255


@dataclass
class Happened:
    """An accepted event."""

    at: int
    type: str
    id: str
    source: str
    data: dict[str, Any]
    machine: bool


class Occurrence(NamedTuple):
    """What counts in a rule's sum, in the order in which the first is forgotten."""

    at: int
    weight: float


@dataclass
class Counted:
    """What a rule `on` events has counted: the occurrences that stand in its sum, and its latest matching event."""

    rule: Mapping[str, Any]
    kind: str
    """The way to fade: `half_life`, `linear` or `window`."""
    span: int | None
    """Its time; `None` for what never fades."""
    occurrences: list[Occurrence]
    latest: int | None


def names(on: Any, kind: str) -> bool:
    """Tell whether a grid's types *on* name the type *kind*. `custom.call.*` is all below `custom.call`, but not itself."""
    return any(kind == name or (name.endswith(".*") and kind.startswith(name[:-1])) for name in as_list(on))


def customs(on: Any) -> dict[str, Any]:
    """Return what a reason says of the types of one's own that its rule names."""
    found = [name for name in as_list(on) if name.startswith("custom.")]
    return {"on": found} if found else {}


def matches(rule: Mapping[str, Any], event: Happened) -> bool:
    """Tell whether an event is one of a rule's."""
    return names(rule["on"], event.type) and all(
        condition(wanted, in_data(event.data, path)) for path, wanted in (rule.get("where") or {}).items()
    )


def fading(rule: Mapping[str, Any], engagement: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return the way to fade and its time: the rule's own word, or the default."""
    for level in (rule, engagement):
        if "decay" in level:
            ((kind, span),) = level["decay"].items()
            return kind, duration(span)
        if "half_life" in level:
            return "half_life", duration(level["half_life"])
    return "half_life", None


def weight(rule: Mapping[str, Any], event: Happened) -> float:
    """Return what one occurrence counts."""
    weigh = rule.get("weigh")
    if weigh is None:
        return 1.0
    value = number(in_data(event.data, weigh["path"]))
    return 0.0 if value is None else clamp(value * weigh.get("times", 1), weigh)


def once(rule: Mapping[str, Any], event: Happened, zone: str) -> tuple[str, ...] | None:
    """Return the values that count once; `None` for an event that is one of its own."""
    found: list[str] = []
    for word in as_list(rule.get("once_per", "event")):
        value = str(day(event.at, zone)) if word == "day" else "" if word == "lead" else in_data(event.data, word)
        if word == "event" or value is MISSING or isinstance(value, list | Mapping):
            return None
        found.append(as_text(value))
    return tuple(found)


def count(rule: Mapping[str, Any], engagement: Mapping[str, Any], human: Sequence[Happened], zone: str) -> Counted:
    """Count a rule's events, in the order in which they came.

    Of each value the earliest counts, and of several at that instant the heaviest. The 64 latest values are remembered. A
    forgotten value stays in a sum that fades as a whole. Where each occurrence fades by itself, values and occurrences are
    one memory of 64, and what is forgotten counts no more.
    """
    kind, span = fading(rule, engagement)
    matching = [event for event in human if matches(rule, event)]
    standing: list[Occurrence] = []
    remembered: dict[Any, Occurrence] = {}
    for n, event in enumerate(matching):
        one = Occurrence(event.at, weight(rule, event))
        value = once(rule, event, zone)
        if value is None and kind == "half_life":
            standing.append(one)
            continue
        key: Any = n if value is None else value
        held = remembered.setdefault(key, one)
        remembered[key] = min(held, one, key=lambda each: (each.at, -each.weight))
        if len(remembered) > REMEMBERED:
            forgotten = remembered.pop(min(remembered, key=lambda v: (remembered[v], str(v))))
            if kind == "half_life":
                standing.append(forgotten)
    latest = max((event.at for event in matching), default=None)
    return Counted(rule, kind, span, standing + list(remembered.values()), latest)


def expired(counted: Counted, t: int) -> bool:
    """Tell whether a rule's sum has ended."""
    expires = duration(counted.rule.get("expires_after"))
    return expires is not None and counted.latest is not None and t - counted.latest >= expires


def raw(counted: Counted, t: int) -> tuple[float, int]:
    """Formula 1: the raw points of a rule at *t*, and how many occurrences they are of."""
    if expired(counted, t):
        return 0.0, 0
    there = [one for one in counted.occurrences if one.at <= t]
    return counted.rule["points"] * sum(one.weight * left(counted, t - one.at) for one in there), len(there)


def left(counted: Counted, age: int) -> float:
    """Return what is left of an occurrence of a rule."""
    if counted.span is None:
        return 1.0
    if counted.kind == "half_life":
        return float(2.0 ** (-age / counted.span))
    return max(0.0, 1 - age / counted.span) if counted.kind == "linear" else float(age < counted.span)


def capped(counted: Counted, points: float) -> float:
    """Formula 2."""
    cap = counted.rule.get("cap")
    return points if cap is None else clamp(points, {"min": -cap, "max": cap})


def velocity(rule: Mapping[str, Any], matching: Sequence[Happened], t: int, zone: str) -> tuple[float, int]:
    """Formula 4: the points of the highest step reached at *t*, and the count that reached it."""
    today, n = day(t, zone), days_of(rule["within"])
    dated = [(day(event.at, zone), event) for event in matching if event.at <= t]
    if rule["count"] == "rise":
        number_ = _rise({d for d, _ in dated}, n, today)
    else:
        number_ = _counted(rule["count"], [(d, event) for d, event in dated if today - n < d <= today])
    reached = [step for step in rule["steps"] if number_ >= step]
    return (rule["steps"][max(reached)] if reached else 0.0), number_


def _rise(dates: set[int], n: int, today: int) -> int:
    last = max(dates, default=None)
    if last is None or not today - n < last <= today:
        return 0
    return sum(last - n < d <= last for d in dates) - sum(last - 2 * n < d <= last - n for d in dates)


def _counted(how: str, dated: list[tuple[int, Happened]]) -> int:
    """Return the count of the events of a window, each with its day."""
    if how == "events":
        return len(dated)
    if how == "days":
        return len({d for d, _ in dated})
    sessions: dict[int, dict[str, int]] = {}
    for d, event in dated:
        session = in_data(event.data, "session_id")
        of_day = sessions.setdefault(d, {})
        if session is not MISSING and (as_text(session) in of_day or len(of_day) < SESSIONS_A_DAY):
            of_day[as_text(session)] = of_day.get(as_text(session), 0) + 1
    if how == "sessions":
        return sum(map(len, sessions.values()))
    return max((min(MOST_DEPTH, deep) for of_day in sessions.values() for deep in of_day.values()), default=0)
