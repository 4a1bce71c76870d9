"""What SQL is meant to be, from the options of a command: calls a week, a probability, or money."""

from __future__ import annotations

import re

from worker.errors import LearningError
from worker.learning.scale import Goal

DEFAULT_SHARE = 0.5
"""Of a win that a call causes, where no experiment has measured it."""


def goal_of(capacity: str | None, p_sql: float | None, value: float | None, cost: float | None, share: float | None) -> Goal:
    """Return the goal. At most one way may be given: *capacity*, *p_sql*, or *value* with *cost*.

    A call is worth its *cost* where p · value · share > cost. Raises `LearningError` for options that do not fit together.
    """
    ways = [capacity is not None, p_sql is not None, value is not None or cost is not None]
    if sum(ways) > 1:
        raise LearningError("give one of --capacity, --p-sql, and --value with --cost")
    if share is not None and not ways[2]:
        raise LearningError("--share is the share of a win that a call causes: give it with --value and --cost")
    if capacity is not None:
        return _capacity(capacity)
    if p_sql is not None:
        return _rate(p_sql, f"closes like {p_sql:.1%}", "--p-sql")
    if value is None and cost is None:
        return Goal("tenth")
    if value is None or cost is None:
        raise LearningError("give both --value, of a client, and --cost, of a call")
    caused = DEFAULT_SHARE if share is None else share
    if value <= 0 or cost <= 0 or not 0 < caused <= 1:
        raise LearningError("--value and --cost are above 0, and --share is above 0 and at most 1")
    words = f"a call pays: {cost:g} for {caused:g} of a client worth {value:g}"
    return _rate(cost / (value * caused), words, "--cost")


def _rate(rate: float, words: str, option: str) -> Goal:
    if not 0 < rate < 1:
        raise LearningError(f"{option}: SQL would mean {rate:g} won; write a share between 0 and 1, as in 0.2")
    return Goal("rate", rate, words)


def calls_a_week(text: str) -> float:
    """Return the calls of a text such as `40/week`. Raises `LearningError`."""
    goal = _capacity(text)
    if goal.kind != "week":
        raise LearningError(f"--capacity {text}: write calls a week, as in 40/week")
    return goal.value


def _capacity(text: str) -> Goal:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(/week|%)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise LearningError(f"--capacity {text}: write calls a week, as in 40/week, or a share of the leads, as in 20%")
    if found[2] == "/week":
        return Goal("week", float(found[1]), f"at most {found[1]} new leads a week, in four weeks of five")
    if float(found[1]) >= 100:
        raise LearningError(f"--capacity {text}: a share is below 100%")
    return Goal("share", float(found[1]) / 100, f"the best {found[1]} % of the leads")
