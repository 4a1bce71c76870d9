"""Traits: facts about a lead, last writer by event time wins, leaf by leaf.

A write is a value or a removal at a dotted path, stamped (event time, event id). It replaces everything older below its path
and any older leaf above it. A leaf that a newer write replaced from below stays as a
removal with its own stamp. So it still outdates older writes that arrive later, and the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec

from worker.core.grid.domains import NORMAL_FORMS
from worker.core.grid.scalars import ELEMENTS_KEPT, exists, scalars
from worker.core.scoring.packing import TRAIT_NAMES, TRAIT_NUMBERS, long_id, short_id, shorten_address
from worker.core.scoring.state import pack_list, unpack_list

TRAITS_LIMIT_BYTES: Final = 65_536
DEPTH_LIMIT: Final = 16
PATH_LIMIT: Final = 1_000
_REMEMBERED_CHARS: Final = 64
_SHORTENED: Final = 1 + max(map(len, TRAIT_NAMES))
"""At most so many times shorter is what is packed than what is written out in full."""

_FORMS: Final = dict(NORMAL_FORMS)

_json = msgspec.json.Encoder(order="sorted")


class TraitsRefused(ValueError):
    """A `profile.updated` that cannot be taken; the message says why."""


class Write(msgspec.Struct, frozen=True, gc=False):
    """The newest thing known at one path."""

    at_ms: int
    event_id: str
    value: Any
    """`None`: removed, or replaced from below."""

    @property
    def stamp(self) -> tuple[int, str]:
        """Order of writes: event time, then event id."""
        return (self.at_ms, self.event_id)


Traits = dict[str, Write]


def leaves(traits: dict[str, Any]) -> tuple[list[tuple[str, Any]], list[str]]:
    """Return (dotted path, value) of a `profile.updated`, in order, and the paths of lists that are refused alone.

    A nested object is its leaves, an empty one is nothing. Values have their one form (`domains.NORMAL_FORMS`). Blank texts are
    kept as empty ones, and lists without blank elements. Both take their place by event time, as any value does.
    Raises `TraitsRefused` where a path has more than 16 names, or is longer than a lead can hold.
    """
    found: list[tuple[str, Any]] = []
    refused: list[str] = []
    _collect(traits, "", 0, found, refused)
    return found, refused


def _collect(traits: dict[str, Any], prefix: str, chars: int, found: list[tuple[str, Any]], refused: list[str]) -> int:
    """Add the leaves of *traits*, which stand below *prefix*, to *found*. Return *chars* with the characters of their paths."""
    for name, value in traits.items():
        path = prefix + name
        chars += len(path)
        if path.count(".") >= DEPTH_LIMIT:
            raise TraitsRefused(f"data.traits: {path[:80]!r} is nested deeper than {DEPTH_LIMIT} names")
        if len(path) > PATH_LIMIT or chars > TRAITS_LIMIT_BYTES:
            raise TraitsRefused(
                f"data.traits: the names of its leaves are too long ({path[:80]!r}…): at most {PATH_LIMIT:,} characters each,"
                f" and {TRAITS_LIMIT_BYTES:,} together"
            )
        if isinstance(value, dict):
            chars = _collect(value, path + ".", chars, found, refused)
        elif isinstance(value, str):
            if path in _FORMS:
                found.append((path, _FORMS[path](value)))
            else:
                found.append((path, "" if value.isspace() else value))
        elif isinstance(value, list):
            members = scalars(value)
            if members is None:
                refused.append(path)
            else:
                found.append((path, [_storable(one) for one in _in_form(path, members)]))
        else:
            found.append((path, _storable(value)))
    return chars


def _in_form(path: str, value: Any) -> Any:
    """Return *value* in the one form of the trait *path*, where it has one; a list is that of its elements."""
    form = _FORMS.get(path)
    if form is None:
        return value
    if value.__class__ is str:
        return form(value)
    return [form(one) if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


def refused_alone(paths: list[str]) -> str:
    """Return the words about traits that are refused while the event's others are taken."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    named = ", ".join(f"data.traits.{path[:80]}" for path in paths[:3])
    return (
        f"{named}{more}: a list must have at most {ELEMENTS_KEPT} texts, numbers and booleans; refused alone: all else of the "
        "event was taken, so send the trait again under another event id"
    )


def take(traits: Traits, news: Collection[tuple[str, Any]], at_ms: int, event_id: str) -> None:
    """Take the writes of one event into *traits*; the order in which events come does not matter."""
    stamp = (at_ms, event_id)
    if not _lie_apart(traits, news):
        _take_nested(traits, news, stamp)
        return
    for path, value in news:
        held = traits.get(path)
        if held is None or at_ms > held.at_ms or _wins(stamp, value, held):
            traits[path] = Write(at_ms, event_id, value)


def _take_nested(traits: Traits, news: Collection[tuple[str, Any]], stamp: tuple[int, str]) -> None:
    """Take the writes of one event where some paths lie below others."""
    below: dict[str, set[str]] = {}
    for path in traits:
        _note_below(below, path)
    for path, value in news:
        held = traits.get(path)
        if held is not None and not _wins(stamp, value, held):
            continue
        above = [over for over in _above(path) if over in traits] if "." in path else []
        if any(traits[over].stamp > stamp for over in above):
            continue
        outdated = bool(above or path in below) and _replace_around(traits, above, below.get(path, ()), stamp)
        traits[path] = Write(*stamp, None if outdated else value)
        _note_below(below, path)


def _lie_apart(traits: Traits, news: Collection[tuple[str, Any]]) -> bool:
    """Return whether no path of both lies below another one, which is the usual case."""
    paths = {*traits, *(path for path, _ in news)}
    return paths.isdisjoint({over for path in paths if "." in path for over in _above(path)})


def _replace_around(traits: Traits, above: list[str], below: Iterable[str], stamp: tuple[int, str]) -> bool:
    """Remove what a write of *stamp* replaces. Return whether a newer write is below it, so that this write is outdated."""
    under = [other for other in below if other in traits]
    outdated = any(traits[other].stamp > stamp for other in under)
    for other in under:
        if traits[other].stamp < stamp:
            del traits[other]
    for over in above:
        if traits[over].stamp < stamp:
            traits[over] = Write(*traits[over].stamp, None)
    return outdated


def _above(path: str) -> tuple[str, ...]:
    return _known_above(path) if len(path) <= _REMEMBERED_CHARS else _all_above(path)


def _all_above(path: str) -> tuple[str, ...]:
    return tuple(path[:i] for i, char in enumerate(path) if char == ".")


_known_above = lru_cache(maxsize=1_024)(_all_above)


def _note_below(below: dict[str, set[str]], path: str) -> None:
    if "." not in path:
        return
    for over in _above(path):
        below.setdefault(over, set()).add(path)


def _wins(stamp: tuple[int, str], value: Any, held: Write) -> bool:
    """Two events may share time and id (ids are unique only within a source): then the greater JSON text wins."""
    if stamp != held.stamp:
        return stamp > held.stamp
    return _json.encode(value) > _json.encode(held.value)


def _storable(value: Any) -> Any:
    """Whole numbers past 64 bits become floats, as JSON's own numbers are in most readers; the state packs no larger ones."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value) if abs(value) < 2**1023 else str(value)
    return value


def held(traits: Traits) -> dict[str, Any]:
    """Return the traits by dotted path, in no order. States of older versions hold addresses and domains as they came."""
    found = {path: write.value for path, write in traits.items() if write.value is not None}
    for path in _FORMS:
        value = found.get(path)
        if value is not None:
            found[path] = _in_form(path, value)
    return found


def values(traits: Traits) -> dict[str, Any]:
    """Return the traits that hold, by dotted path and in its order: those that are there for a rule, or for `exists`."""
    return {
        path: value
        for path, value in sorted(held(traits).items())
        if (value and not value.isspace() if value.__class__ is str else value.__class__ is not list or exists(value))
    }


def pack_traits(traits: Traits) -> msgspec.Raw:
    """Pack traits, each event's stamp once. Raises `TraitsRefused` over 64 kB."""
    events: dict[tuple[int, str], dict[str | int, Any]] = {}
    for path, held in traits.items():
        events.setdefault((held.at_ms, held.event_id), {})[TRAIT_NUMBERS.get(path, path)] = held.value
    short = [(at_ms, short_id(event_id), paths) for (at_ms, event_id), paths in events.items()]
    shorten_address(short)
    packed = pack_list(short)
    # What is refused must not change with the layout of the state: the limit is on what is written out in full.
    if len(bytes(packed)) * _SHORTENED > TRAITS_LIMIT_BYTES and _in_full(traits) > TRAITS_LIMIT_BYTES:
        raise TraitsRefused(f"the lead's traits would take more than {TRAITS_LIMIT_BYTES} bytes; remove some with null first")
    return packed


def _in_full(traits: Traits) -> int:
    events: dict[tuple[int, str], dict[str, Any]] = {}
    for path, held in traits.items():
        events.setdefault(held.stamp, {})[path] = held.value
    return len(bytes(pack_list([[*stamp, paths] for stamp, paths in events.items()])))


def unpack_traits(raw: msgspec.Raw) -> Traits:
    """Open what `pack_traits` packed."""
    found: Traits = {}
    for at_ms, short, paths in unpack_list(raw):
        event_id = long_id(short)
        for path, value in paths.items():
            found[path if isinstance(path, str) else TRAIT_NAMES[path]] = Write(at_ms, event_id, value)
    address = found.get("email")
    if address is not None and isinstance(address.value, bytes):
        found["email"] = Write(*address.stamp, f"{address.value.decode()}@{found['company.domain'].value}")
    return found
