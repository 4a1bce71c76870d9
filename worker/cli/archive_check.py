"""`leadpulse archive check`: looks for gaps and doubles, and compares an archive with Kafka."""

from __future__ import annotations

from typing import Any

import click

from worker.cli.archive_common import opened, place_option
from worker.cli.common import json_line, load, run_async, settings_flags
from worker.cli.topics import CONNECTION
from worker.settings import ArchiveSettings


@click.command()
@place_option
@click.option("--no-kafka", is_flag=True, help="Check the files alone, and compare nothing with Kafka.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_flags(*CONNECTION, "namespace", "input_topics", "output_topics", of=ArchiveSettings)
def check(place: str | None, no_kafka: bool, as_json: bool, **flags: Any) -> None:
    """Look for gaps and doubles, and compare each record's place with those that Kafka still has.

    Reads all that Kafka has of the archived topics. Offsets without a record, such as markers of transactions, are no gap.
    Exits with 1 where something is found.
    """
    from worker.history.operations import check as checked

    place, files = opened(place)
    settings = None if no_kafka else load(ArchiveSettings, flags)
    report = run_async(checked(place, files, settings))
    if as_json:
        click.echo(json_line(report))
    else:
        for one in report.partitions:
            kafka = "" if one.in_kafka is None else f", {one.in_kafka:,} of them in Kafka, {one.waits:,} offsets to come"
            spare = f", {one.overlapping} to merge" if one.overlapping else ""
            click.echo(f"{one.topic}[{one.partition}]: {one.records:,} records in {one.files:,} files{spare}{kafka}")
        for finding in report.findings:
            click.echo(f"{finding.kind}: {finding.detail}")
        click.echo(f"{len(report.findings)} findings", err=True)
    if report.findings:
        raise click.exceptions.Exit(1)
