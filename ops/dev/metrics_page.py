"""`docs/metrics.md`, written from the metrics of all programs: `python -m ops.dev.metrics_page > docs/metrics.md`."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from prometheus_client import CollectorRegistry

from worker.automations.metrics import ActMetrics
from worker.collector.metrics import CollectorMetrics
from worker.history.metrics import ArchiveMetrics
from worker.metrics import Metrics

_INTRODUCTION: Final = """\
# Metrics

Each worker serves `/metrics` on `LEADPULSE_METRICS_PORT`, in Prometheus' text format.
`python -m ops.dev.metrics_page > docs/metrics.md` writes this page from `worker/metrics.py`. A test holds the two equal.

- **Each process serves its own page.**
  With `leadpulse run --workers 4` and port 6066, scrape 6066, 6067, 6068 and 6069.
  A port without an answer is a worker that does not run.
- **One job per namespace.**
  Give all workers of a namespace one `job` whose name begins with `leadpulse`.
  The rules in `ops/prometheus/rules` sum by `job`.
- **Counters** belong to one process and begin at 0 with it. Sum their `rate` or `increase` over the workers.
  A batch is counted once it is applied. A worker that is killed at that moment does not count it.
  Batches that are folded again after a rollback of Redis appear in `leadpulse_refolded_batches_total` only.
  Rare counters are shown from 0 on, so that `increase` sees the first event.
  Examples are transitions, moves, stays, and faults of a partition.
- **Gauges with `partition`** are shown by the partition's owner only.
  Ages and lags are computed at each scrape, so a partition that hangs shows for how long.
- **Labels** never hold a lead, an address, or any other value that a producer could invent.
  Types, topics, reasons and stages come from closed sets.
- **Cost:** about 45 µs a batch and half a microsecond an event.
  This is 2 % of a batch under full load (`docs/benchmarks.md`).
- **Leads by stage** are counters in the partition's position in Redis.
  The call that writes the leads also changes the counters.
  So they are exact after a take-over, a rollback and a rebuild.
  The state of an older version is counted once, at the next take-over.
"""


def page() -> str:
    """Return `docs/metrics.md`."""
    lines = [_INTRODUCTION.rstrip("\n")]
    programs = (Metrics, CollectorMetrics, ActMetrics, ArchiveMetrics)
    described = [one for program in programs for one in program(CollectorRegistry()).described]
    for group, metrics in groupby(described, key=lambda one: one.group):
        lines += ["", f"## {group}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        for one in metrics:
            labels = ", ".join(f"`{label}`" for label in one.labels)
            lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
