"""From measurements to tables: medians, spread, ratios by pairs; sections of `docs/benchmarks.md` between marks."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec


class Result(msgspec.Struct, frozen=True):
    """One contestant over the log, once."""

    contestant: str
    events: int
    seconds: float
    """From the first record in hand to offsets at the log's end and outputs committed."""
    cpu_us: float
    """Of its processes, an event."""
    kafka_us: float
    redis_us: float
    peak_mb: float
    outputs: int
    same: bool | None
    """Its outputs are those of the common work, lead by lead; `None` where it does other work."""

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Return the median with the least and the greatest."""
    middle = format(statistics.median(values), form)
    return middle if len(values) == 1 else f"{middle} ({format(min(values), form)} to {format(max(values), form)})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours over theirs, run by run; a run that only one of them has is left out."""
    return [our / their for our, their in zip(ours, theirs, strict=False)]


def table(results: Mapping[str, Sequence[Result]]) -> str:
    """Return the contestants with what each needed."""
    lines = [
        "| | events | events/s | µs of CPU an event | … broker | … Redis | memory, at most | outputs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        outputs = " or ".join(f"{count:,}" for count in sorted({run.outputs for run in runs}))
        equal = {True: ", equal", False: ", NOT equal", None: ""}[
            None if runs[0].same is None else all(run.same for run in runs)
        ]
        cpu = spread([run.cpu_us for run in runs], ".1f")
        lines.append(
            f"| {name} | {runs[0].events:,} | {spread([run.rate for run in runs])} | {cpu}"
            f" | {statistics.median(run.kafka_us for run in runs):.1f} | {statistics.median(run.redis_us for run in runs):.1f}"
            f" | {max(run.peak_mb for run in runs):.0f} MB | {outputs}{equal} |"
        )
    return "\n".join(lines)


def compared(results: Mapping[str, Sequence[Result]], ours: Sequence[str]) -> str:
    """Return how each of *ours* stands to each other contestant, by pairs of one round."""
    lines = ["| | " + " | ".join(f"{name}: events/s | … CPU" for name in ours) + " |", "|---" * (1 + 2 * len(ours)) + "|"]
    for name, theirs in results.items():
        if name in ours:
            continue
        cells = []
        for our in ours:
            cells.append(f"{spread(ratios([r.rate for r in results[our]], [r.rate for r in theirs]), '.2f')} ×")
            cells.append(f"{spread(ratios([r.cpu_us for r in results[our]], [r.cpu_us for r in theirs]), '.2f')} ×")
        lines.append(f"| against {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least of *values* that *share* of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def where() -> str:
    """Return the date and the machine."""
    cores = os.cpu_count()
    return f"{datetime.now(UTC):%Y-%m-%d}, {cores} cores shared with broker and Redis, CPython {platform.python_version()}"


def write(page: Path, name: str, text: str) -> None:
    """Put *text* between the marks of section *name* of *page*. Raises `ValueError` when they are not there."""
    begin, end = f"<!-- {name}: written by a program -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page}: no lines {begin!r} and {end!r} around the section")
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")
