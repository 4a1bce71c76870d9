"""How long `leadpulse learn table` takes for a year of events, and how much memory: a log made up for it, on the local engine.

`python -m tests.benchmarks.bench_table [LEADS] [ENGINE]` writes ten events a lead to a temporary folder, and makes the table as
the command does. It prints seconds, CPU time, and the most memory that all processes had together, looked at each second.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.benchmarks.measure import tree
from worker.core.scoring.calendar import rfc3339

START_MS: Final = 1_767_225_600_000
DAY_MS: Final = 86_400_000
DAYS: Final = 240
EVENTS: Final = 11
"""Of each lead, on average."""
PAGES: Final = ("/pricing", "/product/score", "/blog/a", "/", "/case/b")


def events(leads: int, seed: int = 1) -> Iterator[tuple[int, str, str, dict[str, object]]]:
    """Yield (instant, lead, type, data) of each event, lead by lead. A tenth begin as visitors, and 4 % are won."""
    rnd = random.Random(seed)
    for n in range(leads):
        lead, begin_ms = f"lead-{n:06d}", START_MS + rnd.randrange(DAYS * DAY_MS)
        visitor = f"visitor:{n:06d}" if n % 10 == 0 else ""
        traits = {"role": rnd.choice(["CMO", "CEO", "student"]), "company": {"size": rnd.randrange(500)}, "country": "FR"}
        yield begin_ms, lead, "profile.updated", {"traits": traits}
        at_ms = begin_ms
        for step in range(EVENTS - 2):
            at_ms += rnd.randrange(8 * DAY_MS)
            known = not visitor or step > 3
            page: dict[str, object] = {"url": rnd.choice(PAGES), "session_id": f"s{step // 2}"}
            yield at_ms, lead if known else visitor, "page.viewed", page
            if visitor and step == 3:
                yield at_ms + 1, lead, "lead.identified", {"anonymous_id": visitor}
        if rnd.random() < 0.04:
            yield at_ms + DAY_MS, lead, "crm.won", {}
        else:
            yield at_ms + DAY_MS, lead, "email.opened", {"message_id": "m1"}


def write_log(path: Path, leads: int) -> int:
    """Write the events in order of time, and return how many there are."""
    ordered = sorted((one for one in events(leads) if one[0] < START_MS + DAYS * DAY_MS), key=lambda one: one[0])
    with path.open("w") as file:
        for number, (at_ms, lead, type_, data) in enumerate(ordered):
            envelope = {"specversion": "1.0", "id": f"e{number}", "source": "/bench", "type": type_, "subject": lead}
            file.write(json.dumps({**envelope, "time": rfc3339(at_ms), "data": data}) + "\n")
    return len(ordered)


def _watched(child: subprocess.Popen[bytes]) -> float:
    """Wait for *child*. Return the most MB that it and its children had together."""
    most = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = child.wait(1)
            if code:
                raise SystemExit(code)
            return most / 1e6
        most = max(most, sum(_bytes(pid) for pid in tree(child.pid)))


def _bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (FileNotFoundError, ProcessLookupError):
        return 0


def main(leads: int, engine: str) -> None:
    """Make the log and the table, and print what it took."""
    with tempfile.TemporaryDirectory(prefix="leadpulse-bench-") as made:
        log, out = Path(made) / "events.jsonl", Path(made) / "t.parquet"
        count = write_log(log, leads)
        command = [sys.executable, "-m", "worker.cli", "learn", "table", str(log), "--grid", "saas-b2b", "--complete"]
        more = [] if engine == "local" else ["--engine", engine]
        before = time.monotonic()
        most_mb = _watched(subprocess.Popen([*command, *more, "--out", str(out)]))
        took = time.monotonic() - before
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{count:,} events of {leads:,} leads, {log.stat().st_size / 1e6:,.0f} MB: {took:,.0f} s, engine {engine}")  # noqa: T201
        print(  # noqa: T201
            f"CPU {usage.ru_utime + usage.ru_stime:,.0f} s; all processes {most_mb:,.0f} MB;"
            f" table {out.stat().st_size / 1e6:,.1f} MB"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, sys.argv[2] if len(sys.argv) > 2 else "local")
