"""What becomes of a batch's records."""

from __future__ import annotations

import asyncio
import json

from worker.adapters.store_memory import MemoryStore
from worker.core.grid import parse_grid
from worker.core.journal import Tick, cuts_output, stray_output, tick_output
from worker.core.model import Output, Record
from worker.core.scorer import Scorer
from worker.engine.batch import Folder, Place, sift
from worker.settings import Settings

SETTINGS = Settings.load({"LEADPULSE_PARTITIONS": "1"})
EVENT = b'{"specversion":"1.0","id":"1","source":"/s","type":"demo.requested","subject":"L","time":"2026-01-01T00:00:00Z"}'


def in_journal(output: Output, offset: int) -> Record:
    """Return *output* as the journal gives it back."""
    return Record(output.topic, 0, offset, 5, output.key, output.value, output.headers)


def test_a_tick_that_came_too_late_is_passed_over_among_a_batchs_records() -> None:
    """A partition that folds again reads it where its predecessor found it not worth a batch: between other records."""
    journal = SETTINGS.internal_topic
    stray = stray_output(journal, 0, Record("lead.events.web", 3, 7, 5, None, EVENT))
    records = [
        in_journal(tick_output(journal, 0, Tick(1, {})), 0),
        in_journal(stray, 1),
        in_journal(cuts_output(journal, 0, []), 2),
    ]
    sifted = sift(records, SETTINGS, 0)
    assert [(event.lead, event.topic, event.offset) for event in sifted.events] == [("L", "lead.events.web", 7)]
    assert not sifted.rejected
    assert not sifted.strays


async def test_traits_past_their_limit_go_to_the_dead_letters_under_the_name_that_is_published() -> None:
    """The lead keeps nothing of the event, and who reads `lead.dead` finds the reason in the schema."""
    event = json.loads(EVENT) | {"type": "profile.updated", "data": {"traits": {"note": "x" * 70_000}}}
    record = Record("lead.events.profile", 0, 4, 5, b"L", json.dumps(event).encode())
    scorer = Scorer(parse_grid("grid: g\nversion: 1\n", "g.yaml"), SETTINGS.source)
    store = MemoryStore()
    folder = Folder(SETTINGS, scorer, 0, lambda leads, _: store.load(leads), asyncio.Lock())
    taken = await folder.events([record], Place(1, {"lead.events.profile": 5}, None))
    (dead,) = taken.batch.entry.outputs
    told = dict(dead.headers)
    assert (dead.topic, dead.key, dead.value) == ("lead.dead", record.key, record.value)
    assert (told["lp-reason"], told["__connect.errors.offset"]) == (b"traits_refused", b"4")
    assert taken.batch.writes == []
