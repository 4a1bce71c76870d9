"""What a chance costs, beside the score of the same lead: a model of 30 rules, a lead with 10 signals that are not 0.

`python -m tests.benchmarks.bench_prediction [ROUNDS]` prints a table, in µs of CPU a read. No event waits for any of it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import click

from tests.kit.grids import a_grid
from tests.kit.models import with_a_model
from worker.core.grid.models import parse_grid
from worker.core.insight.replay import Replay
from worker.core.scoring.prediction import model_of
from worker.core.scoring.score import read, reasons
from worker.core.scoring.signals import signals
from worker.core.scoring.state import unpack
from worker.core.scoring.traits import unpack_traits, values
from worker.demo.agenda import DAY_MS

ROUNDS: Final = 9
READS: Final = 20_000


def _grid() -> str:
    rules = (f"{{id: r{n}, points: {n + 1}, on: page.viewed, where: {{page_type: p{n}}}, half_life: 7d}}" for n in range(26))
    fit = "{id: work, points: 5, where: {email_kind: business}}, {id: size, points: 5, where: {company.size: {gte: 50}}}"
    return a_grid(fit=f"{{rules: [{fit}]}}", engagement=f"{{rules: [{', '.join(rules)}]}}")


def _lines() -> list[dict[str, Any]]:
    start = {"specversion": "1.0", "source": "bench", "subject": "ada"}
    views = [
        start
        | {
            "id": f"{n}",
            "type": "page.viewed",
            "time": f"2026-01-0{n + 1}T00:00:00Z",
            "data": {"url": "/", "page_type": f"p{n}"},
        }
        for n in range(7)
    ]
    traits = {"email": "ada@acme.example", "company": {"size": 80}}
    return [*views, start | {"id": "p", "type": "profile.updated", "time": "2026-01-08T00:00:00Z", "data": {"traits": traits}}]


def _microseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(READS):
        work()
    return (time.process_time() - began) / READS * 1e6


@click.command()
@click.argument("rounds", type=int, default=ROUNDS)
def main(rounds: int) -> None:
    """Print a row for each kind of read: the median of ROUNDS, and their range."""
    run = Replay(parse_grid(with_a_model(_grid()), "bench"))
    for number, line in enumerate(_lines()):
        run.line(json.dumps(line).encode(), "bench", number)
    run.finish()
    scorer, state, model = run.scorer, unpack(run.state_of("ada") or b""), model_of(run.scorer)
    assert model is not None
    at_ms = state.clock_ms + 3 * DAY_MS
    view = scorer.derived(values(unpack_traits(state.traits)))
    assert len(signals(scorer, state, at_ms)) == 10
    kinds: dict[str, Callable[[], object]] = {
        "the score (`score.read`)": lambda: read(scorer, state, at_ms),
        "the chance, its traits at hand": lambda: model.p(state, at_ms, view),
        "the chance, its traits packed": lambda: model.p(state, at_ms),
        "the chance with its factors, as published": lambda: model.predicted(state, state.stage, at_ms, view),
        "the reasons of the score, as published": lambda: reasons(scorer, state, at_ms),
        "all signals (`signals`)": lambda: signals(scorer, state, at_ms, view),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, work in kinds.items():
            found[name].append(_microseconds(work))
    sys.stdout.write("| read | µs of CPU |\n|---|---|\n")
    for name, times in found.items():
        sys.stdout.write(f"| {name} | {statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f}) |\n")


if __name__ == "__main__":
    main()
