"""What one event does to a lead's sums and traits. Whatever the order of arrival, the sums are the same."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from worker.core.contract.event_types import ACTIVITIES, CUSTOM, TYPE_NAMES, TYPE_NUMBERS
from worker.core.contract.model import Event
from worker.core.grid.page_types import hash_route
from worker.core.scoring import traits as traits_
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.core.scoring.compiled_rules import INFINITY, ExclusionRule, RuleCounter, VelocityCounter
from worker.core.scoring.counted_apart import count_apart
from worker.core.scoring.once_per import MARK_BYTES, aged, as_text, find, forget, mark, occurrence, remember
from worker.core.scoring.packing import note
from worker.core.scoring.state import IDS_KEPT, SQL, Count, LeadState
from worker.core.scoring.velocity import VelocityKind
from worker.core.scoring.weight import weight as weight_of

_ACTIVITIES: Final = frozenset(ACTIVITIES)
_LABEL_CHARS: Final = 60
_CUSTOM_LABEL_CHARS: Final = 43
"""Behind a name of 64 bytes: together not longer than 60 characters of 4 bytes."""
_REMEMBERED_CHARS: Final = 2_048
"""A longer url is hardly ever seen again, and thousands of them would fill the memory."""
_LABELS: Final = ("cta", "url", "webinar_id", "content_id", "form_id", "campaign_id", "network", "list", "reason", "message_id")
_URL_CHARS: Final = 8_192
"""Of a url, so many are looked at for a route in its fragment."""
_FOREVER: Final = b"\0" * MARK_BYTES
_SEVERAL: Final = frozenset({list, dict})
"""Classes of what is no single value: `once_per` takes it for a missing one."""

_TYPE_NUMBERS: Final = {name: number for name, number in TYPE_NUMBERS.items() if name != CUSTOM}
_CUSTOM_NUMBER: Final = TYPE_NUMBERS[CUSTOM]
_CUSTOM_BEGINS: Final = f"{CUSTOM}."


def is_activity(type_: str) -> bool:
    """Return whether an event of this type shows the lead to be active (design: inactivity counts from the latest one)."""
    return type_ in _ACTIVITIES or type_.startswith(_CUSTOM_BEGINS)


def id_mark(event: Event) -> bytes:
    """Return what stands for the event's (source, id) among the lead's last 64."""
    # The length first, so that no source and id run together into another pair's text.
    source = event.source
    return mark(f"{len(source)}:{source}{event.id}")


def is_duplicate(state: LeadState, event_mark: bytes) -> bool:
    """Return whether the event is among the lead's last 64."""
    ids: bytes = state.ids
    return event_mark in ids and find(ids, event_mark) >= 0


def with_traits(state: LeadState, event: Event) -> tuple[traits_.Traits, msgspec.Raw, list[str]]:
    """Return the lead's traits with those of a `profile.updated`, the same packed, and the paths that are refused alone.

    Raises `TraitsRefused` for what the lead cannot hold.
    """
    news, refused = traits_.leaves(event.data["traits"])
    held = traits_.unpack_traits(state.traits)
    if not news:
        return held, state.traits, refused
    traits_.take(held, news, event.at_ms, event.id)
    return held, traits_.pack_traits(held), refused


def add(scorer: CompiledGrid, state: LeadState, event: Event, event_mark: bytes, now_ms: int) -> float:
    """Take the event's effect on counts, velocity, exclusions and activity into *state*; traits come by `with_traits`.

    *now_ms* is the lead's clock with the event, not before the partition's last tick.

    Return how far the event can have raised the `upper_bound` of a reading that was made before it.
    It is infinite where that is not known. Then an exclusion matched, expired occurrences count again, or a lead on a rung may
    have lost points.
    """
    # Complexity over 15: every event passes here, and each step in a function of its own would cost a call.
    ids: bytes = state.ids + event_mark
    state.ids = ids if len(ids) <= IDS_KEPT * MARK_BYTES else ids[-IDS_KEPT * MARK_BYTES :]
    at_ms = event.at_ms
    if at_ms > state.clock_ms:
        state.clock_ms = at_ms
    if event.machine:
        return 0.0
    gain = 0.0
    type_ = event.type
    data = event.data
    number = _TYPE_NUMBERS.get(type_)
    if number is None:
        type_ = scorer.kind_of(type_)
    if type_ == "page.viewed" and (not (page_type := data.get("page_type")) or page_type.isspace()):
        data = _with_page_type(scorer, data)
    counters = scorer.counters.get(type_)
    if counters is not None:
        gain = _count_rules(scorer, state, counters, data, at_ms, now_ms)
    velocity = scorer.velocity_counters.get(type_)
    if velocity is not None:
        day = scorer.calendar.day(at_ms)
        for one in velocity:
            if one.match is None or one.match(data):
                count_velocity(state, one, day, data)
    exclusions = scorer.exclusions.get(type_)
    if exclusions is not None and _exclude(state, exclusions, data, at_ms):
        gain = INFINITY
    if at_ms > state.active_ms and is_activity(type_):
        state.active_ms = at_ms
    if number is None:
        state.recent = note(state.recent, (at_ms, _CUSTOM_NUMBER, _custom_label(event, hash_routes=scorer.hash_routes)))
    else:
        state.recent = note(state.recent, (at_ms, number, label(event, hash_routes=scorer.hash_routes)))
    return gain


def _with_page_type(scorer: CompiledGrid, data: dict[str, Any]) -> dict[str, Any]:
    derived = scorer.page_type(data["url"])
    return data if derived is None else data | {"page_type": derived}


def _count_rules(
    scorer: CompiledGrid, state: LeadState, counters: list[RuleCounter], data: dict[str, Any], at_ms: int, now_ms: int
) -> float:
    """Count the event for each rule that it matches, and return the gain; see `add`."""
    gain = 0.0
    # A late event may show that an occurrence came earlier, and so has decayed more.
    late = at_ms < state.clock_ms
    on_rung = scorer.holds_from <= state.stage <= SQL
    for counter in counters:
        if counter.match is None or counter.match(data):
            if counter.expires_after:
                before = state.counts.get(counter.key)
                if before is not None and now_ms >= before.last_ms + counter.expires_after:
                    gain = INFINITY
            if on_rung and (late or counter.takes):
                gain = INFINITY
            count_one(scorer, state, counter, at_ms, data)
            gain += counter.gain
    return gain


def _exclude(state: LeadState, exclusions: list[ExclusionRule], data: dict[str, Any], at_ms: int) -> bool:
    """Note the instant of each exclusion that the event begins or ends, and return whether it matches any."""
    matched = False
    for rule in exclusions:
        if rule.match is None or rule.match(data):
            note_exclusion(state, rule, at_ms)
            matched = True
    return matched


def note_exclusion(state: LeadState, rule: ExclusionRule, at_ms: int) -> None:
    """Note that an exclusion begins, or ends, at *at_ms*."""
    held = state.exclusions.get(rule.key, at_ms)
    state.exclusions[rule.key] = max(at_ms, held) if rule.latest else min(at_ms, held)


def judge_traits(scorer: CompiledGrid, state: LeadState, traits: traits_.Traits | None = None) -> None:
    """Set the fit of the state's traits under the scorer's grid, and whether an exclusion by traits holds.

    *traits* are those of the state, where the caller has them unpacked.
    """
    if traits is None:
        traits = traits_.unpack_traits(state.traits)
    view = scorer.derived(traits_.held(traits))
    state.fit = scorer.fit(view)
    state.excluded_by_traits = scorer.excludes(view)


def count_one(scorer: CompiledGrid, state: LeadState, counter: RuleCounter, at_ms: int, data: dict[str, Any]) -> None:
    """Count one matching event, unless `once_per` has counted its value already."""
    count = state.counts.get(counter.key)
    if count is None:
        count = state.counts[counter.key] = Count(last_ms=at_ms)
    if counter.apart:
        weight = 1.0 if counter.weigh is None else weight_of(counter.weigh, lookup(data, counter.weigh_path))
        count_apart(counter, count, at_ms, _value(scorer, counter, at_ms, data), weight)
        return
    decay = counter.decay
    if at_ms > count.last_ms:
        if decay is not None:
            count.sum *= decay.left(at_ms - count.last_ms)
        if count.seen:
            count.seen = aged(count.seen, count.last_ms, at_ms)
        count.last_ms = at_ms
    value = _value(scorer, counter, at_ms, data)
    if value is not None:
        first = occurrence(count.seen, count.last_ms, value)
        if first is not None and first <= at_ms:
            return
        if first is not None:
            # A late event shows that this value came earlier than was known: the occurrence moves, the count stays.
            count.seen = forget(count.seen, value)
            count.n -= 1
            if decay is not None:
                count.sum -= decay.left(count.last_ms - first)
        count.seen = remember(count.seen, count.last_ms, value, at_ms)
    count.n += 1
    if decay is not None:
        sum_ = count.sum + (1.0 if at_ms == count.last_ms else decay.left(count.last_ms - at_ms))
        count.sum = 1 if sum_ == 1 else sum_


def _value(scorer: CompiledGrid, counter: RuleCounter, at_ms: int, data: dict[str, Any]) -> bytes | None:
    """Return the mark of what `once_per` counts once; `None` makes the event an occurrence of its own."""
    once_per = counter.once_per
    if once_per == "event":
        return None
    if counter.combined:
        return _combination(scorer, counter, at_ms, data)
    if once_per == "lead":
        return _FOREVER
    if once_per == "day":
        return scorer.calendar.day(at_ms).to_bytes(MARK_BYTES, "big", signed=True)
    held = lookup(data, counter.path)
    return None if held is None or held.__class__ in _SEVERAL else mark(as_text(held))


def _combination(scorer: CompiledGrid, counter: RuleCounter, at_ms: int, data: dict[str, Any]) -> bytes | None:
    """Return the mark of a combination of values; `None` if one of them is missing, or is a list or an object."""
    texts: list[str] = []
    for word, path in counter.combined:
        if word == "day":
            texts.append(str(scorer.calendar.day(at_ms)))
        elif word != "lead":
            held = lookup(data, path)
            if held is None or held.__class__ in _SEVERAL:
                return None
            texts.append(as_text(held))
    # As JSON, so that no two texts run together into another pair's.
    return mark(as_text(texts))


def count_velocity(state: LeadState, counter: VelocityCounter, day: int, data: dict[str, Any]) -> None:
    """Count one matching event of the calendar day *day*, unless its kind takes no such event."""
    kind: VelocityKind = counter.kind
    held = state.velocity.get(counter.key)
    if held is not None and kind.once_a_day and held.day == day:
        return
    match = kind.match(day, data)
    if match is not None:
        state.velocity[counter.key] = match if held is None else kind.merge(held, match)


def lookup(data: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return what stands at *path*; `None` where nothing does. A null is nothing, and so is a blank text."""
    held: Any = data
    for name in path:
        if not isinstance(held, dict):
            return None
        held = held.get(name)
    return None if held.__class__ is str and (not held or held.isspace()) else held


def label(event: Event, *, hash_routes: bool = False) -> str:
    """Return what a salesperson reads of an event in one short phrase: the page, the call to action, the webinar."""
    data = event.data
    for name in _LABELS:
        text = data.get(name)
        if text and isinstance(text, str) and not text.isspace():
            if name == "url":
                if hash_routes and (route := hash_route(text[:_URL_CHARS])):
                    return route[:_LABEL_CHARS]
                return _url_label(text) if len(text) > _REMEMBERED_CHARS else _remembered_label(text)
            return text[:_LABEL_CHARS]
    return ""


def _custom_label(event: Event, *, hash_routes: bool) -> str:
    """Return the label of a type of one's own, behind its name: `recent_type` takes them apart."""
    text = label(event, hash_routes=hash_routes)[:_CUSTOM_LABEL_CHARS]
    name = event.type.removeprefix(_CUSTOM_BEGINS)
    return f"{name} {text}" if text else name


def recent_type(number: int, text: str) -> tuple[str, str]:
    """Return the type and the label of one of the last events, of which a state holds *number* and *text*."""
    if number != _CUSTOM_NUMBER:
        return TYPE_NAMES[number], text
    name, _, text = text.partition(" ")
    return _CUSTOM_BEGINS + name, text


def _url_label(url: str) -> str:
    rest = url.partition("?")[0].partition("#")[0].rpartition("://")[2]
    return (rest if rest.startswith("/") else "/" + rest.partition("/")[2])[:_LABEL_CHARS]


_remembered_label = lru_cache(maxsize=8_192)(_url_label)
