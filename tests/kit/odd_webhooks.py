"""Odd values anywhere in what vendors send and answer, and what holds for every map whatever comes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from worker.connections.sources import Source
from worker.core.contract.codec import decode
from worker.core.contract.model import Event, Record
from worker.intake.inbound import Inbound
from worker.intake.vendors.common import Unmapped, cloud_event
from worker.intake.vendors.registry import MAPS, mapped

ODD: Final[tuple[Any, ...]] = (
    None, True, "", " ", "..", "0", "@", "a@b", "x" * 20_000, "\x00", "1e999999999", "99999999999999",
    -1, 0.1, 1e300, 2**63, [], {}, [None], [[]], {"": None}, {"id": {}}, "9999-12-31T23:59:59.9999999+00:00", "{}", "[1]",
)  # fmt: skip


def places(sample: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value, the whole one's too."""
    yield path
    inner = sample.items() if isinstance(sample, dict) else enumerate(sample) if isinstance(sample, list) else ()
    for name, value in inner:
        yield from places(value, (*path, name))


def changed(sample: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with *value* at *path*."""
    if not path:
        return value
    made = copy.deepcopy(sample)
    at = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return made


def judge(inbound: Inbound, source: Source) -> int:
    """Map *inbound* twice, by the vendor's map alone and by the registry; return how many events and look-ups came of it.

    Nothing but `Unmapped` is raised, the same request gives the same, and the worker takes every event at its time.
    """
    try:
        MAPS[inbound.vendor](inbound, source)
        made, again = mapped(inbound, source), mapped(inbound, source)
    except Unmapped:
        return 0
    assert made == again
    seen = set()
    for new in made.events:
        held = decode(Record("t", 0, 0, None, None, cloud_event(new, "in"), ()))
        assert isinstance(held, Event)
        assert held.at_ms == new.at_ms
        seen.add(held.id)
    assert len(seen) == len(made.events)
    for lookup in made.lookups:
        assert lookup.path.startswith(("/", "{objects}/"))
        assert not {"", ".", ".."} & set(lookup.path.partition("?")[0].lstrip("/").split("/"))
        assert lookup.path.isascii()
        assert not {"\x00", " ", "@"} & set(lookup.path)
        assert all(isinstance(word, str) for word in lookup.about.values())
        msgspec.json.encode(lookup)
    return len(made.events) + len(made.lookups)
