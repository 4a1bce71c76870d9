"""Finds a person in webhooks: which ones name the person, and which parts of them.

A webhook may tell of many people, and one of them may see their own part alone. So lists are cut to the elements that name
the person. The map of a vendor says best whom a webhook is about. Where there is no map, an address or a long id says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from worker.connections.sources import Source
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Mapped, Unmapped
from worker.intake.vendors.registry import mapped

_TOKEN: Final = re.compile(r"""[^\s<>"'&;,()\[\]{}=?/]+""")
_ADDRESS: Final = re.compile(r"""[^\s<>:;,"'()\[\]{}=?&/]+@[^\s<>:;,"'()\[\]{}=?&/]+""")
_RUN: Final = re.compile(r"[A-Za-z0-9]+")
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[3-7]")
"""An escape in JSON of a letter or a digit, which no one needs to write."""
_LONG: Final = 8
"""Characters from which an id is taken for the person's wherever it stands. A shorter one may be any number."""
_SHORTEST_RUN: Final = 3
_DEEPEST: Final = 4
"""JSON in a text, in JSON, and so on."""
_MOST_FIELDS: Final = 10_000

_any: Final = msgspec.json.Decoder().decode
_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class PersonNames:
    """All ids of one person, as they stand in webhooks."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: Final = frozenset(ids)
        bare = {id_.partition(":")[2] for id_ in self.ids if id_.startswith(("email:", "visitor:"))}
        self._addresses = frozenset(name.lower() for name in {*self.ids, *bare} if "@" in name)
        self._exact = self.ids | bare
        self._sure = frozenset(name for name in self._exact if len(name) >= _LONG and "@" not in name)
        runs = [_telling(name).lower().encode() for name in self._exact]
        self.needles: Final = tuple(runs) if all(len(run) >= _SHORTEST_RUN for run in runs) else ()
        """In lower case. What names the person has all letters of one of them; none: a name is too short to tell."""

    def may_be_in(self, value: bytes) -> bool:
        """Return whether a record's *value* can name the person: what spares reading the others, and misses none."""
        if not self.needles or b'"body_base64"' in value or b'"vendor":"json"' in value or _ESCAPED_LETTER.search(value):
            return True
        lower = value.lower()
        return any(needle in lower for needle in self.needles)

    def is_key(self, key: bytes | None) -> bool:
        """Return whether a record's key is one of the ids."""
        return key is not None and key.decode(errors="replace") in self.ids

    def are_subject_of(self, made: Mapped) -> bool:
        """Return whether an event of *made* is the person's."""
        return any(event.subject in self.ids or event.data.get("anonymous_id") in self.ids for event in made.events)

    def surely_in(self, value: Any) -> bool:
        """Return whether *value* has an address or a long id of the person anywhere."""
        return any(self._address_in(text) or not self._sure.isdisjoint(_tokens(text)) for text in _texts(value))

    def in_(self, value: Any) -> bool:
        """Return whether *value* has any name of the person anywhere. A short one may be another thing's number."""
        return any(self._address_in(text) or not self._exact.isdisjoint(_tokens(text)) for text in _texts(value))

    def _address_in(self, text: str) -> bool:
        return bool(self._addresses) and "@" in text and not self._addresses.isdisjoint(_ADDRESS.findall(text.lower()))


def _telling(name: str) -> str:
    """Return the letters and digits of *name* that no encoding changes, and that few others have: not those of a domain."""
    found = max(_RUN.findall(name.partition("@")[0]), key=len, default="")
    return found if len(found) >= _SHORTEST_RUN else max(_RUN.findall(name), key=len, default="")


def _tokens(text: str) -> set[str]:
    return {text, *_TOKEN.findall(text)}


def _texts(value: Any) -> Iterator[str]:
    """Yield every text and number in *value* as text, and the keys of objects."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
            yield from one
        elif isinstance(one, list):
            left += one
        elif isinstance(one, str):
            yield unquote(one) if "%" in one else one
        elif isinstance(one, (int, float)) and not isinstance(one, bool):
            yield str(one)


def readable(body: bytes) -> Any:
    """Return a body as objects, lists and texts: JSON, also where a text holds it, or a form; else the text itself."""
    try:
        return _unfolded(_any(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode(errors="replace")
    if "=" in text and text.lstrip()[:1] not in ("<", "{", "["):
        try:
            held = parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            return text
        return {name: _unfolded(values[0] if len(values) == 1 else values) for name, values in held.items()}
    return text


def _unfolded(value: Any, depth: int = _DEEPEST) -> Any:
    if isinstance(value, dict):
        return {name: _unfolded(inner, depth) for name, inner in value.items()}
    if isinstance(value, list):
        return [_unfolded(inner, depth) for inner in value]
    if depth and isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return _unfolded(_any(value), depth - 1)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return value
    return value


class Found(msgspec.Struct, frozen=True):
    """What of a webhook is the person's."""

    payload: Any
    """The body as `readable`, its lists cut to what names the person."""
    about: Any
    """Of a look-up's answer: what was asked, cut likewise."""
    shared: bool
    """Something of other people was cut off."""


def found_in(inbound: Inbound, key: str, names: PersonNames, source: Source | None) -> Found | None:
    """Return what of *inbound*, kept under *key*, is about the person; `None` for nothing.

    *source*: the vendor's map reads it with these settings; `None` where the connections do not name it.
    """
    whole, about = readable(inbound.body), _unfolded(dict(inbound.about))
    if key not in names.ids and not names.surely_in([whole, about, inbound.query]) and not _maps_to(inbound, names, source):
        return None
    parts = _parts(inbound.body)

    def theirs(place: int | None, element: Any) -> bool:
        if place is None or place >= len(parts):
            return names.in_(element)
        return names.surely_in(element) or _maps_to(_with_body(inbound, b"[%b]" % parts[place]), names, source)

    try:
        cut = _cut(whole, theirs)
        cut_about = _cut(about, lambda _, element: names.in_(element))
    except RecursionError:
        return Found(None, None, shared=True)
    return Found(cut, cut_about, shared=cut != whole or cut_about != about)


def without(inbound: Inbound, key: str, names: PersonNames, source: Source | None) -> Inbound | None:
    """Return *inbound* without the person: as it is, or without elements of its list; `None` where that takes more."""
    if found_in(inbound, key, names, source) is None:
        return inbound
    if key in names.ids:
        return None
    parts = _parts(inbound.body)
    kept = [part for part in parts if found_in(_with_body(inbound, b"[%b]" % part), "", names, source) is None]
    if not kept:
        return None
    rest = _with_body(inbound, b"[%b]" % b",".join(kept))
    return rest if found_in(rest, "", names, source) is None else None


def _maps_to(inbound: Inbound, names: PersonNames, source: Source | None) -> bool:
    if source is None or getattr(source, "vendor", None) != inbound.vendor:
        return False
    try:
        return names.are_subject_of(mapped(inbound, source))
    except Unmapped:
        return False


def _cut(value: Any, theirs: Callable[[int | None, Any], bool], outermost: bool = True) -> Any:
    """Return *value* with its lists, and its objects by name, cut to what is theirs, where something there is.

    *theirs* is given an element, and its place in the list that is the whole value.
    """
    if isinstance(value, list):
        mine = [one for place, one in enumerate(value) if theirs(place if outermost else None, one)]
        return [_cut(one, theirs, outermost=False) for one in mine or value]
    if isinstance(value, dict):
        named = {name: inner for name, inner in value.items() if "@" in name and theirs(None, name)}
        return {name: _cut(inner, theirs, outermost=False) for name, inner in (named or value).items()}
    return value


def _parts(body: bytes) -> list[bytes]:
    """Return the elements of a JSON list; none for another body."""
    try:
        return [bytes(part) for part in _list(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _with_body(inbound: Inbound, body: bytes) -> Inbound:
    return msgspec.structs.replace(inbound, body=body)
