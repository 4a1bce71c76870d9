"""The metrics of `leadpulse archive run`. Labels come from closed sets: topics of the settings, and partitions."""

from __future__ import annotations

from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry

from worker.declared import Declared, Group

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ArchiveMetrics:
    """These metrics in one registry."""

    _group = Group("Archive")
    records = _group.counter("archive_records", "Records that are in a file, by topic", "topic")
    files = _group.counter("archive_files", "Files that were written")
    bytes = _group.counter("archive_bytes", "Bytes of these files")
    write_seconds = _group.histogram("archive_write_seconds", "Time to write a file", _SECONDS)
    failures = _group.counter("archive_write_failures", "Attempts to write a file that failed, and are repeated")
    partitions = _group.gauge("archive_partitions", "Partitions of topics that this process archives")
    lag = _group.gauge("archive_lag_records", "Records of this process's partitions that are in no file yet")
    oldest = _group.gauge("archive_oldest_seconds", "How long the oldest record waits that was read and is in no file yet")
    last_write = _group.gauge("archive_last_write_seconds", "When a file was last written, in seconds since 1970; 0: never")
    lost = _group.counter("archive_lost_records", "Offsets that retention deleted before they were archived")
    unreadable = _group.counter("archive_unreadable", "Records whose batch is damaged; the archive has their places alone")
    yielded = _group.counter("archive_yielded", "Times that another process had archived what this one was about to write")
    erasures = _group.counter("archive_erasures", "Erased ids that no file has any more")
    erasures_waiting = _group.gauge("archive_erasures_waiting", "Erased ids that files may still have")

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.described = [one.described for one in vars(ArchiveMetrics).values() if isinstance(one, Declared)]
        for attribute, one in vars(ArchiveMetrics).items():
            if isinstance(one, Declared):
                vars(self)[attribute] = one.make(registry)
