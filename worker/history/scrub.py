"""What an erasure leaves of a record: nothing of a record of the person, and of others all but the person's names.

A record is the person's if its subject or its key is one of the ids. So is an event that was forwarded to one. A record of
another lead may name the person, such as the members of an account. The name is replaced there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from worker.core.contract.instants import MAX_AHEAD_MS
from worker.core.contract.model import Headers
from worker.history.form import Role
from worker.history.rows import Columns

ERASED: Final = "(erased)"
"""Stands where the name of an erased person stood."""

LINKS: Final = frozenset({"lead.identified", "lead.duplicate", "lead.stage", "account.hot", "account.cooled"})
"""Types whose data names other leads by their ids."""

_AFTER_MS: Final = 86_400_000
"""What an erasure itself brings about, such as messages between owners, is written within a day of it."""

_SHORT: Final = 4
"""A shorter id may be any number or word. It names the person only where ids of leads stand."""

_KINDS_WITHOUT_PERSONS: Final = ("tick", "cuts", "grid")

_json: Final = msgspec.json.Decoder().decode
_msgpack: Final = msgspec.msgpack.Decoder().decode
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


class Persons(Protocol):
    """Erased persons."""

    def erased_ms(self, id_: str) -> int | None:
        """Return up to when *id_* is erased; `None`: it never was."""
        ...


class Names(Protocol):
    """Erased persons whose names are known, so that texts are searched for them."""

    def surely_in(self, value: Any) -> bool:
        """Return whether *value* has an address or a long id anywhere."""
        ...

    def in_bytes(self, value: bytes) -> bool:
        """Return whether bytes that are no JSON may name them."""
        ...

    @property
    def needles(self) -> Sequence[bytes]:
        """Return runs of letters in lower case, one of which is in everything that names them; none: all may name them."""
        ...


class Row(NamedTuple):
    """A record of an archive."""

    role: Role
    timestamp_ms: int | None
    key: bytes | None
    headers: Headers
    columns: Columns


BLANK: Final = Columns()
"""What is left of a record of the person."""


def scrubbed(row: Row, persons: Persons, names: Names | None = None) -> Columns:
    """Return what is left of *row*: `BLANK`, other data, or its own columns where it names no erased person.

    Without *names*, data of others is searched only where it names leads by their ids (`LINKS`).
    """
    columns, at_ms = row.columns, _at_ms(row)
    if any((until_ms := persons.erased_ms(id_)) is not None and at_ms <= until_ms for id_ in _own_ids(row)):
        return BLANK
    if row.role == "journal" and columns.type in _KINDS_WITHOUT_PERSONS:
        return columns
    if columns.value is not None:
        return BLANK if _named_in_value(row, persons, names) else columns
    if columns.data is None or (names is None and columns.type not in LINKS):
        return columns
    try:
        held = _json(columns.data)
        changed = _without(held, _Search(persons, names, at_ms, columns.type in LINKS))
    except _UNREADABLE:
        return BLANK if names is not None and names.in_bytes(columns.data.encode()) else columns
    return columns if changed == held else columns._replace(data=msgspec.json.encode(changed).decode())


def _at_ms(row: Row) -> int:
    """Return the instant of *row*, as the worker takes it."""
    time_ms, stamp_ms = row.columns.time_ms, row.timestamp_ms
    if time_ms is None:
        return stamp_ms or 0
    return stamp_ms if stamp_ms is not None and time_ms > stamp_ms + MAX_AHEAD_MS else time_ms


def _own_ids(row: Row) -> Iterator[str]:
    if row.columns.subject is not None:
        yield row.columns.subject
    if row.key is not None:
        yield row.key.decode(errors="replace")
    if row.role == "journal":
        yield from (value.decode(errors="replace") for name, value in row.headers if name == "lp-lead")


def _named_in_value(row: Row, persons: Persons, names: Names | None) -> bool:
    """Return whether a value that is no CloudEvent names an erased person: a message between owners, or a bad record."""
    value = row.columns.value or b""
    search = _Search(persons, names, _at_ms(row), True)
    try:
        held = _msgpack(value) if row.role == "journal" else _json(value)
        found = any(search.names(text) for text in texts(held))
    except _UNREADABLE:
        found = False
    return found or (names is not None and names.in_bytes(value))


class _Search(NamedTuple):
    persons: Persons
    known: Names | None
    at_ms: int
    links: bool

    def names(self, text: str, key: str = "") -> bool:
        """Return whether *text*, which stands under *key*, names an erased person."""
        if self.links or len(text) >= _SHORT:
            until_ms = self.persons.erased_ms(text)
            if until_ms is not None and self.at_ms <= until_ms + _AFTER_MS:
                return True
        # An address under this name is the record's own lead's, who has it, too.
        return self.known is not None and key != "email" and self.known.surely_in(text)


def _without(value: Any, search: _Search, key: str = "") -> Any:
    if isinstance(value, str):
        return ERASED if search.names(value, key) else value
    if isinstance(value, list):
        return [_without(one, search, key) for one in value]
    if isinstance(value, dict):
        return {ERASED if search.names(name) else name: _without(one, search, name) for name, one in value.items()}
    return value


def texts(value: Any) -> Iterator[str]:
    """Yield every text in *value*, and the keys of objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from texts(name)
            yield from texts(one)
