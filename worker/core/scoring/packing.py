"""Shorter ways of writing what nearly every lead holds: the last events, names of traits, ids that are UUIDs.

Everything here is on plain lists, as they are packed, and gives back exactly what it was given.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from typing import Any, Final

RECENT_KEPT: Final = 20

TRAIT_NAMES: Final = (
    "email",
    "role",
    "seniority",
    "country",
    "phone",
    "decision_role",
    "company.name",
    "company.domain",
    "company.industry",
    "company.size",
    "company.type",
    "company.country",
)
"""Packed traits name these paths by their place here: new ones are added at the end, with a new version of the state."""

_EMAIL: Final = TRAIT_NAMES.index("email")
_DOMAIN: Final = TRAIT_NAMES.index("company.domain")
TRAIT_NUMBERS: Final[dict[str, str | int]] = {name: number for number, name in enumerate(TRAIT_NAMES)}
"""The number that is packed for a path. Other paths are packed as they are."""

Recent = tuple[int, int, str]
"""Instant, number of the type, label."""


def note(flat: list[Any], entry: Recent) -> list[Any]:
    """Return the packed list of last events *flat* with one more, by rising instant; past 20 the earliest is dropped.

    *flat* begins with the latest instant. Each event follows: ms since the event before (0 for the first), number of its type,
    label. Where a label comes again, a number says how many events later. Most people look at the same few pages.
    """
    at_ms, type_, label = entry
    if not flat:
        return [at_ms, 0, type_, label]
    if at_ms <= flat[0] and entry < (flat[0], flat[-2], flat[-1]):
        entries = open_(flat)
        insort(entries, entry)
        return _close(entries)
    labels = flat[3::3]
    if label in labels:
        at = labels.index(label)
        flat[3 + 3 * at] = len(labels) - at
    flat += (at_ms - flat[0], type_, label)
    flat[0] = at_ms
    if len(flat) > 1 + 3 * RECENT_KEPT:
        del flat[1:4]
        flat[1] = 0
    return flat


def close(entries: list[Recent]) -> list[Any]:
    """Return the last 20 of *entries* as `note` packs them."""
    return _close(sorted(entries))


def _close(entries: list[Recent]) -> list[Any]:
    entries = entries[-RECENT_KEPT:]
    if not entries:
        return []
    flat: list[Any] = [entries[-1][0]]
    later: dict[str, int] = {}
    for at in range(len(entries) - 1, -1, -1):
        label = entries[at][2]
        again = later.get(label)
        later[label] = at
        before = entries[at - 1][0] if at else entries[at][0]
        flat += (label if again is None else again - at, entries[at][1], entries[at][0] - before)
    flat[1:] = flat[:0:-1]
    return flat


def open_(flat: list[Any]) -> list[Recent]:
    """Return the events that *flat* holds, by rising instant."""
    if not flat:
        return []
    at_ms = flat[0]
    found: list[Recent] = []
    for at in range(len(flat) - 3, 0, -3):
        label = flat[at + 2]
        found.append((at_ms, flat[at + 1], label if isinstance(label, str) else found[-label][2]))
        at_ms -= flat[at]
    found.reverse()
    return found


def shorten_address(traits: Iterable[Sequence[Any]]) -> None:
    """Leave the domain out of an address that has its company's: what stays is bytes, which no trait is otherwise.

    *traits* are as they are packed: (instant, event id, {short name: value}) of each event.
    """
    told: dict[Any, Any] = {}
    domain = None
    for _, _, paths in traits:
        if _EMAIL in paths:
            told = paths
        if _DOMAIN in paths:
            domain = paths[_DOMAIN]
    address = told.get(_EMAIL)
    if isinstance(domain, str) and isinstance(address, str) and address.endswith("@" + domain):
        told[_EMAIL] = address[: -len(domain) - 1].encode()


def short_id(text: str) -> str | bytes:
    """Return how an event's id is packed: a UUID, as it is usually written, takes 16 bytes instead of 36."""
    if len(text) == 36 and text[8:24:5] == "----":
        digits = text.replace("-", "")
        try:
            packed = bytes.fromhex(digits)
        except ValueError:
            return text
        if packed.hex() == digits and len(digits) == 32:  # else it has capitals, spaces or more hyphens
            return packed
    return text


def long_id(packed: str | bytes) -> str:
    """Return the id that `short_id` packed."""
    if isinstance(packed, str):
        return packed
    text = packed.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
