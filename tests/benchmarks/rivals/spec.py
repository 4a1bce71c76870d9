"""The work that every rival does with an event, and that `race.yaml` asks of LeadPulse: standard library alone, no framework.

A lead's clock is the latest of its event times. A rule's sum decays by its half-life and is capped when read; coming back on
several days of a week earns steps; stages climb at `enter` and fall below `leave`; an event whose id is among the lead's last
64 is dropped. `streams/Race.java` is the same in Java, `race.yaml` as a grid.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

DAY_MS: Final = 86_400_000


class Rule(NamedTuple):
    """Points for one type of event, for one type of page if it says so."""

    id: str
    points: float
    on: str
    page_type: str | None
    half_life_ms: int
    cap: float


RULES: Final = (
    Rule("page", 1, "page.viewed", None, 14 * DAY_MS, 10),
    Rule("pricing", 8, "page.viewed", "pricing", 7 * DAY_MS, 24),
    Rule("open", 1, "email.opened", None, 14 * DAY_MS, 5),
    Rule("click", 3, "email.clicked", None, 14 * DAY_MS, 9),
    Rule("download", 5, "content.downloaded", None, 14 * DAY_MS, 15),
    Rule("form", 6, "form.submitted", None, 14 * DAY_MS, 12),
    Rule("webinar", 20, "webinar.attended", None, 14 * DAY_MS, 28),
)
STEPS: Final = ((5, 10.0), (3, 5.0))
"""Days of the last seven with a page view, and what they earn; the highest first."""
WITHIN: Final = 7
STAGES: Final = ("contact", "mql", "sql")
ENTER: Final = (0.0, 25.0, 45.0)
LEAVE: Final = (0.0, 18.0, 35.0)
REMEMBERED: Final = 64
ALLOWANCE: Final = 1e-9

State = list[Any]
"""[clock, stage, days (a bit a day, the clock's own first), sequence, sums (one a rule), ids]; anything stores it as it is."""

Output = dict[str, Any]

_OF_TYPE: Final = {rule.on: [n for n, other in enumerate(RULES) if other.on == rule.on] for rule in RULES}
_RATES: Final = [1 / rule.half_life_ms for rule in RULES]
_PRICES: Final = [(rule.points, rule.cap) for rule in RULES]
_DAYS: Final = (1 << WITHIN) - 1


def new(at_ms: int) -> State:
    """Return a lead that nothing is known of, as of its first event."""
    return [at_ms, 0, 0, 0, [0.0] * len(RULES), []]


def step(state: State, lead: str, id_: str, at_ms: int, kind: str, page_type: str | None) -> list[Output]:
    """Fold one event into *state*, in place; return the transitions it makes."""
    ids = state[5]
    if id_ in ids:
        return []
    ids.append(id_)
    if len(ids) > REMEMBERED:
        del ids[0]
    outputs: list[Output] = []
    clock, sums = state[0], state[4]
    if at_ms > clock:
        past = clock - at_ms
        for n, rate in enumerate(_RATES):
            if sums[n]:
                sums[n] *= 2 ** (past * rate)
        state[2] = state[2] << (at_ms // DAY_MS - clock // DAY_MS) & _DAYS if at_ms - clock < WITHIN * DAY_MS else 0
        state[0] = clock = at_ms
        if state[1]:
            _fall(state, lead, score(state), outputs)
    for n in _OF_TYPE.get(kind, ()):
        wanted = RULES[n].page_type
        if wanted is None or wanted == page_type:
            sums[n] += 2 ** ((at_ms - clock) * _RATES[n])
    if kind == "page.viewed":
        ago = clock // DAY_MS - at_ms // DAY_MS
        if ago < WITHIN:
            state[2] |= 1 << ago
    now = score(state)
    before = state[1]
    while state[1] + 1 < len(STAGES) and now >= ENTER[state[1] + 1] - ALLOWANCE:
        _move(state, lead, state[1] + 1, now, outputs)
    if state[1] == before:
        _fall(state, lead, now, outputs)
    return outputs


def score(state: State) -> float:
    """Return the score at the lead's clock."""
    total = 0.0
    for value, (points, cap) in zip(state[4], _PRICES, strict=True):
        raw = points * value
        total += raw if raw < cap else cap
    days = state[2].bit_count()
    return float(total + next((earned for reached, earned in STEPS if days >= reached), 0.0))


def _fall(state: State, lead: str, now: float, outputs: list[Output]) -> None:
    while state[1] and now < LEAVE[state[1]] - ALLOWANCE:
        _move(state, lead, state[1] - 1, now, outputs)


def _move(state: State, lead: str, to: int, now: float, outputs: list[Output]) -> None:
    kind = f"lead.{STAGES[to]}" if to > state[1] else "lead.cooled"
    state[3] += 1
    data = {"from": STAGES[state[1]], "to": STAGES[to], "score": now}
    outputs.append({"id": f"{lead}:{state[3]}", "type": kind, "subject": lead, "time": state[0], "data": data})
    state[1] = to
