"""Records a second that `leadpulse archive run` archives, and that an archive gives back in order of arrival.

`python -m tests.benchmarks.archive [EVENTS]`. Broker and archive share this machine. CPU is that of the process alone.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.benchmarks.log import lines
from tests.benchmarks.measure import cpu_s, produce, tree
from tests.kit.services import Kafka, needed
from tests.kit.shell import Running, leadpulse
from worker.history.form import FileName, next_offsets
from worker.history.records import open_history

LEADS = 50_000
PARTITIONS = 8
DAY = timedelta(days=1)


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


def archived(archive: Path) -> int:
    """Return how many offsets of the log are in files."""
    names = [FileName.parse(str(path.relative_to(archive))) for path in archive.rglob("*.parquet")]
    return sum(next_offsets(name for name in names if name is not None).values())


def measured(kafka: Kafka, events: int, folder: Path) -> None:
    """Archive and read once, and print the figures."""
    archive = folder / "archive"
    env = {
        "LEADPULSE_KAFKA": kafka.address, "LEADPULSE_PARTITIONS": str(PARTITIONS), "LEADPULSE_ARCHIVE_TO": str(archive),
        "LEADPULSE_ARCHIVE_EVERY": "5", "LEADPULSE_DEVELOPMENT": "true", "LEADPULSE_METRICS_PORT": "0",
    }  # fmt: skip
    assert leadpulse("topics", "create", env=env).returncode == 0
    now = datetime.now(UTC)  # older records would be deleted by retention
    produce(kafka.address, ["lead.events.web"], lines(events, LEADS, end=now, span=DAY), PARTITIONS)
    with Running(["-m", "worker.cli", "archive", "run"], env, folder) as running:
        running.until(lambda: "archive.takes" in running.words)
        began, cpu = time.perf_counter(), cpu_s(tree(running.process.pid))
        while archived(archive) < events:
            assert running.process.poll() is None, running.words
            time.sleep(0.05)
        seconds, used = time.perf_counter() - began, cpu_s(tree(running.process.pid)) - cpu
        assert running.end() == 0
    size = sum(path.stat().st_size for path in archive.rglob("*.parquet"))
    say(f"archived: {events / seconds:,.0f} records/s, {used / events * 1e6:.1f} µs of CPU a record")
    say(f"size: {size / events:.0f} bytes a record, {len(list(archive.rglob('*.parquet')))} files")
    began, cpu = time.perf_counter(), time.process_time()
    count = sum(1 for _ in open_history(str(archive)).events())
    assert count == events, count
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"read in order: {events / seconds:,.0f} records/s, {used / events * 1e6:.1f} µs of CPU a record, {most:.0f} MB")


def main() -> None:
    """Run it."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with needed(Kafka) as kafka, tempfile.TemporaryDirectory() as folder:
        measured(kafka, events, Path(folder))


if __name__ == "__main__":
    main()
