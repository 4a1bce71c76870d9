"""Write the golden file of this version of the packed state."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import click
import msgspec

from tests.core.golden.stories import GRID, LATER, STORIES
from tests.kit.comparison import Partition, text
from worker.core.scoring.outputs import history, recent
from worker.core.scoring.score import read, reasons
from worker.core.scoring.state import unpack
from worker.core.scoring.traits import unpack_traits, values


def told(partition: Partition, lead: str) -> dict[str, Any]:
    """Return what can be read of a lead: its fields in Redis, score, reasons, traits, last events and moves."""
    state = unpack(partition.states[lead] or b"")
    partition.scorer.recognise(state)
    at_ms = max(state.clock_ms, partition.clock or 0)
    said: dict[str, Any] = {
        "fields": fields(partition, lead),
        "traits": values(unpack_traits(state.traits)),
        "recent": recent(state),
        "history": history(state),
    }
    if state.alive:
        reading = read(partition.scorer, state, at_ms)
        said["reading"] = [_said(name, getattr(reading, name)) for name in READ]
        said["reasons"] = msgspec.to_builtins(reasons(partition.scorer, state, at_ms))
    return said


READ = (
    *("score", "fit", "engagement", "highest", "lowest", "falling"),
    *("falling_half_life", "rising", "rising_half_life", "step_ms", "total"),
)


def _said(name: str, number: float) -> str:
    # Spans and instants were whole numbers when the golden states were made.
    return repr(number).removesuffix(".0") if name.endswith(("half_life", "_ms")) else repr(number)


def fields(partition: Partition, lead: str) -> list[Any]:
    """Return what is stored of a lead besides its state."""
    write = partition.writes[lead]
    return [write.score, write.fit, write.engagement, write.stage, write.grade, write.updated_at, write.due_ms, write.rank]


def main() -> None:
    """Write `state-VERSION.json` beside this file."""
    partition = Partition(GRID).feed(STORIES)
    leads: dict[str, Any] = {}
    for lead, packed in partition.states.items():
        leads[lead] = {"state": b64encode(packed or b"").decode(), "told": told(partition, lead)}
    version = unpack(next(iter(partition.states.values())) or b"").version
    known = len(partition.outputs)
    clock = partition.clock
    partition.feed(LATER)
    golden = {
        "version": version,
        "grid": GRID,
        "stories": text(STORIES),
        "clock_ms": clock,
        "leads": leads,
        "later": text(LATER),
        "outputs": partition.outputs[known:],
        "told later": {lead: told(partition, lead) for lead in leads},
    }
    path = Path(__file__).with_name(f"state-{version}.json")
    path.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
    click.echo(path)


if __name__ == "__main__":
    main()
