"""States that older versions packed: read alike, folded on alike, written back as this version packs them."""

from __future__ import annotations

import contextlib
import json
import math
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.core.golden.__main__ import told
from tests.core.golden.older import as_version_1
from tests.kit.comparison import Partition
from worker.core.scoring.migrations import MIGRATIONS
from worker.core.scoring.state import STATE_VERSION, LeadState, UnreadableState, pack, unpack
from worker.core.scoring.traits import pack_traits, unpack_traits

ADDED = {3: {"links"}, 6: {"phase"}}
"""Version → the fields that it added."""

ODD = "own"
"""A trait whose value is a list with an object. It is refused since version 6, and missing where an older version took it."""

FILES = sorted(Path(__file__).with_name("golden").glob("state-*.json"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One version's states, and what it read in them."""
    read: dict[str, Any] = without_odd(json.loads(request.param.read_text()))
    return read


def without_odd(value: Any) -> Any:
    """Return what an older version said, without `ODD`."""
    match value:
        case dict():
            return {name: without_odd(one) for name, one in value.items() if name != ODD}
        case list():
            return [without_odd(one) for one in value]
    return value


def stored(golden: dict[str, Any]) -> dict[str, bytes | None]:
    """Return the states as they lie in Redis."""
    return {lead: b64decode(one["state"]) for lead, one in golden["leads"].items()}


def from_the_start(golden: dict[str, Any]) -> Partition:
    """Return a partition in which this version has folded the same stories."""
    return Partition(golden["grid"], f"data.traits.{ODD}").feed([json.loads(line) for line in golden["stories"]])


def plain(value: Any) -> Any:
    """Return *value* as JSON has it."""
    return json.loads(msgspec.json.encode(value))


def alike(one: Any, other: Any) -> bool:
    """Return whether both say the same, but for the last bits of floats: folds up to 5 took powers from the C library."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(alike, one, other))
        case float(), int() | float():
            return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)
        case str(), str() if one != other:
            with contextlib.suppress(ValueError):
                return alike(float(one), float(other))
    return bool(one == other)


def same_told(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether both tell the same of a lead; see `alike`. Fold 6 sets `due`, a bound, some milliseconds earlier."""
    ours, theirs = one["fields"][_DUE], other["fields"][_DUE]
    near = ours == theirs or (None not in (ours, theirs) and abs(ours - theirs) <= _DUE_DIFFERS_MS)
    return near and alike(_without(one, "fields", _DUE), _without(other, "fields", _DUE))


def same_states(ours: Mapping[str, bytes | None], theirs: Mapping[str, bytes | None]) -> bool:
    """Return whether packed states hold the same, but for `ODD`; see `alike`."""

    def opened(packed: bytes | None) -> Any:
        state = unpack(packed or b"")
        state.due_ms = None if state.due_ms is None else state.due_ms // 1_000
        state.traits = pack_traits({path: held for path, held in unpack_traits(state.traits).items() if path != ODD})
        state.grid = 0  # names the tables as well, which are others with every upgrade
        for name in ("counts", "velocity", "exclusions"):  # their keys were 32 bits long before version 5
            setattr(state, name, {key % 2**32: held for key, held in getattr(state, name).items()})
        return plain(msgspec.msgpack.decode(msgspec.msgpack.encode(state), strict=False))

    return ours.keys() == theirs.keys() and all(alike(opened(ours[lead]), opened(theirs[lead])) for lead in ours)


_DUE = 6
_DUE_DIFFERS_MS = 50


def _without(told: dict[str, Any], name: str, place: int) -> dict[str, Any]:
    return told | {name: told[name][:place] + told[name][place + 1 :]}


def test_every_older_version_has_golden_states_and_a_step_to_the_next() -> None:
    """Whoever changes the layout leaves both behind."""
    older = list(range(1, STATE_VERSION))
    assert [path.stem for path in FILES] == [f"state-{version}" for version in older]
    assert sorted(MIGRATIONS) == older


def test_golden_states_fill_every_field(golden: dict[str, Any]) -> None:
    """A field that no golden state holds would be migrated untested."""
    empty = LeadState()
    filled = {
        name
        for packed in stored(golden).values()
        for name in LeadState.__struct_fields__
        if packed is not None and getattr(unpack(packed), name) != getattr(empty, name)
    }
    since = {name for version, names in ADDED.items() if version > golden["version"] for name in names}
    assert filled == set(LeadState.__struct_fields__) - {"version"} - since


def test_an_older_state_is_read_as_its_own_version_read_it(golden: dict[str, Any]) -> None:
    """Scores, reasons, traits, last events and moves; and it is what this version would have packed."""
    partition = from_the_start(golden)
    fresh = dict(partition.states)
    partition.states = stored(golden)
    for lead, one in golden["leads"].items():
        assert same_told(plain(told(partition, lead)), one["told"]), lead
    assert same_states(partition.states, fresh)


def test_a_lead_that_uses_nothing_new_is_not_a_byte_larger() -> None:
    """Most leads have no links and no phase: what they do not use is not written."""
    golden = json.loads(Path(__file__).with_name("golden").joinpath("state-5.json").read_text())
    for lead, packed in stored(golden).items():
        state = unpack(packed or b"")
        assert len(pack(state)) == len(packed or b"") - (state.links is None), lead


def test_an_older_state_is_folded_on_as_one_of_this_version(golden: dict[str, Any]) -> None:
    """The next event writes it back in this version's layout, and nothing else can tell the two apart."""
    later = [json.loads(line) for line in golden["later"]]
    partition = from_the_start(golden)
    migrated = Partition(golden["grid"], f"data.traits.{ODD}")
    migrated.states, migrated.writes = stored(golden), dict(partition.writes)
    migrated.clock, migrated.offset = golden["clock_ms"], partition.offset
    known = len(partition.outputs)
    partition.feed(later)
    migrated.feed(later)
    assert alike(plain(migrated.outputs), golden["outputs"])
    assert alike(plain(partition.outputs[known:]), golden["outputs"])
    assert same_states(migrated.states, partition.states)
    for lead, said in golden["told later"].items():
        assert same_told(plain(told(migrated, lead)), said), lead


def test_the_step_back_packs_what_version_1_packed() -> None:
    """The system tests fill a Redis with such states."""
    golden = json.loads(Path(__file__).with_name("golden").joinpath("state-1.json").read_text())
    fresh = from_the_start(golden).states
    assert same_states({lead: as_version_1(packed or b"") for lead, packed in fresh.items()}, stored(golden))


def test_a_newer_state_is_refused_whatever_its_layout() -> None:
    """After a rollback of the worker nobody may guess at what a newer one has written."""
    newer = STATE_VERSION + 1
    for fields in ([newer], [newer, "other", {}], [newer, *msgspec.msgpack.decode(pack(LeadState()))[1:]]):
        with pytest.raises(UnreadableState, match=f"has version {newer}, this worker reads {STATE_VERSION}"):
            unpack(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("damaged", [b"", b"\x93\x01", b"\xc0", b"\x91\x01", b"\x92\x02\xa1a", b"\x91\xa1a", b"\x80"])
def test_a_damaged_state_is_refused(damaged: bytes) -> None:
    """By its own error, which stops the partition with words, not by whatever the decoder raises."""
    with pytest.raises(UnreadableState, match="damaged"):
        unpack(damaged)
