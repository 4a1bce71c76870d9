"""A batch is folded again only of what it was folded of: the same records of the same topics."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from worker.adapters.memory import MemoryStore
from worker.core.contract.folded import digest, in_order
from worker.core.contract.journal import (
    Cut,
    Tick,
    cuts_output,
    grid_output,
    is_folded,
    stray_output,
    tick_output,
)
from worker.core.contract.model import Output, Record
from worker.core.grid.models import parse_grid
from worker.core.scoring.compiled_grid import CompiledGrid
from worker.engine.batch_builder import BatchBuilder, BatchStart
from worker.engine.refold import check_folded, check_topics_of
from worker.errors import WorkerMustStop
from worker.settings import Settings

SETTINGS = Settings.load({"LEADPULSE_PARTITIONS": "1", "LEADPULSE_INPUT_TOPICS": "web"})
NEXT = {"crm": 4, "web": 9}
CUT = Cut(3, NEXT, "g", "w", 1, ids=in_order(NEXT, {"crm": "C", "web": "W"}), records=2, digest="0a")
BEFORE = Cut(2, {"crm": 4, "web": 7}, "g", "w", 1)
EVENT = b'{"specversion":"1.0","id":"1","source":"/s","type":"demo.requested","subject":"L","time":"2026-01-01T00:00:00Z"}'


@pytest.mark.parametrize("changes", [{"records": 1}, {"digest": "0b"}, {"records": 3, "digest": "0b"}])
def test_other_records_are_refused(changes: dict[str, Any]) -> None:
    """By number or by content."""
    with pytest.raises(WorkerMustStop, match="partition 7: batch 3 was folded from 2 records"):
        check_folded(7, CUT, msgspec.structs.replace(CUT, **changes))


@pytest.mark.parametrize("cut", [CUT, Cut(3, NEXT, "g", "w", 1)], ids=["the same", "of an older version"])
def test_the_same_records_are_not_and_older_cuts_are_taken_as_they_were(cut: Cut) -> None:
    """A journal that an older version wrote is folded of whatever is there, as that version did."""
    check_folded(7, cut, CUT)


def test_a_topic_made_again_is_refused_where_the_batch_read_it() -> None:
    """Not where it took nothing of it, nor where it was a move that an operator allowed."""
    check_topics_of(7, BEFORE, CUT, {"crm": "C", "web": "W"})
    check_topics_of(7, BEFORE, CUT, {"crm": "other", "web": "W"})
    check_topics_of(7, BEFORE, msgspec.structs.replace(CUT, lost=True), {"crm": "C", "web": "other"})
    for held in (("", ""), ("1:2:3", "1:2:3"), ()):
        check_topics_of(7, BEFORE, msgspec.structs.replace(CUT, ids=held), {"crm": "C", "web": "other"})
    with pytest.raises(WorkerMustStop, match="web was deleted and recreated since batch 3 was folded from it"):
        check_topics_of(7, BEFORE, CUT, {"crm": "C", "web": "other"})


async def test_a_cut_says_what_was_folded_dead_records_tombstones_and_unknown_types_too() -> None:
    """All that the offsets of the batch span counts, whatever became of it."""
    compiled = CompiledGrid(parse_grid("grid: g\nversion: 1\n", "g.yaml"), SETTINGS.source)
    store = MemoryStore()
    builder = BatchBuilder(SETTINGS, compiled, 0, lambda leads, _, most: store.load(leads, most=most), asyncio.Lock())
    records = [
        Record("web", 0, 0, 5, b"L", EVENT),
        Record("web", 0, 1, 5, b"L", None),
        Record("web", 0, 2, None, None, b"no event"),
        Record("web", 0, 4, 5, b"L", EVENT.replace(b"demo.requested", b"page.scrolled")),
    ]
    place = BatchStart(1, {"web": 5}, None, ids={"web": "W"})
    cut = (await builder.events(records, place)).batch.entry.cut
    assert (cut.records, cut.digest, cut.topic_ids()) == (4, digest(records), {"web": "W"})
    fewer = (await builder.events(records[:1] + records[2:], place)).batch.entry.cut
    with pytest.raises(WorkerMustStop, match="now give 3 records"):
        check_folded(0, cut, fewer)
    nothing = (await builder.events((), place)).batch.entry.cut
    assert (nothing.records, nothing.digest) == (0, digest([]))
    begun = builder.begin(compiled, place, 5, 1).entry.cut
    sliced = (await builder.slice([], 9, place, {"web": 5})).batch.entry.cut
    assert [(one.records, one.digest, one.ids) for one in (begun, sliced)] == [(0, "", ("W",))] * 2


def test_of_the_journal_only_strays_and_messages_are_folded() -> None:
    """What else stands there depends on when transactions ended; what is not known must still stop the worker."""

    def held(output: Output) -> bool:
        return is_folded(Record(output.topic, 0, 3, 5, output.key, output.value, output.headers))

    assert not any(map(held, [tick_output("j", 0, Tick(1, {})), cuts_output("j", 0, [CUT]), grid_output("j", 0, b"grid: g")]))
    stray = stray_output("j", 0, Record("web", 3, 7, 5, None, EVENT))
    assert held(stray)
    assert held(stray_output("j", 0, Record("web", 3, 7, 5, None, EVENT), "lead"))
    assert held(msgspec.structs.replace(stray, headers=(("lp-kind", b"of tomorrow"),)))
    assert held(msgspec.structs.replace(stray, headers=()))
