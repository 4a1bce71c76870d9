"""What becomes of a batch's records."""

from __future__ import annotations

from worker.core.journal import Tick, cuts_output, stray_output, tick_output
from worker.core.model import Output, Record
from worker.engine.batch import sift
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
