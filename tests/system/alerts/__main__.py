"""Every alert that a fault can bring about, firing and clearing, on a real Prometheus over two real workers: `make alerts`.

`python -m tests.system.alerts [--factor 10] [--fault NAME]`. The rules are the deployed ones with every window, every `for` and
every age that they compare with divided by the factor, and Prometheus looks that much more often; `--factor 1` is as deployed.
What workers, Kafka and Redis do is not sped up. A fault begins when the alerts of the one before it have cleared, but for those
that look back for long, and both workers have caught up. Prints the timeline as a table; exit code 1 when an alert did not fire
or clear, or when one fires before any fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from ops.dev.kafka_broker import Kafka
from ops.dev.redis_server import Redis
from tests.benchmarks import report
from tests.system.alerts.faults import FAULTS, LOOK_BACK
from tests.system.alerts.stage import Stage, load
from tests.system.alerts.table import Seen, table
from tests.system.alerts.watcher import Timeline


@dataclass
class Brought:
    """One fault while it is watched."""

    fault: str
    began: float
    ended: float = 0.0

    def seen(self, timeline: Timeline, factor: float) -> Seen:
        """Return what it brought about before the next fault, as far as it has cleared."""
        until = min((at for at in timeline.begins if at > self.began), default=float("inf"))
        alerts: dict[str, tuple[float, float]] = {}
        for spell in timeline.spells:
            if self.began <= spell.fired < until and spell.cleared is not None:
                first, _ = alerts.get(spell.alert, (round(spell.fired - self.began), 0))
                alerts[spell.alert] = first, round(spell.cleared - self.ended)
        return Seen(self.fault, factor, report.where(), alerts)


async def bring_about(stage: Stage, timeline: Timeline, name: str) -> Brought:
    """Bring about fault *name* and see its alerts fire. Raises `AssertionError` when one does not, the fault undone."""
    fault, wanted = FAULTS[name]
    limit_s = 4_500 / stage.factor + 120
    waited_for = f"{name}: no alert fires and the workers have caught up before it begins"
    await stage.until(lambda: timeline.now() <= LOOK_BACK - set(wanted) and stage.at_rest(), limit_s, waited_for)
    done = Brought(name, time.monotonic())
    timeline.begins.append(done.began)
    failed: AssertionError | None = None

    def missing() -> list[str]:
        return sorted(set(wanted) - {spell.alert for spell in timeline.spells if spell.fired >= done.began})

    async with fault(stage):
        try:
            await stage.until(lambda: not missing(), limit_s, f"{name}: all of {', '.join(wanted)} fire")
        except AssertionError as wrong:
            failed = wrong
    done.ended = time.monotonic()
    fired = [f"{s.alert} {s.fired - done.began:.0f} s" for s in timeline.spells if s.fired >= done.began]
    click.echo(f"  {name}: {', '.join(fired)}", err=True)
    if failed is not None:
        raise failed
    return done


async def run(factor: float, names: Sequence[str]) -> tuple[list[Seen], list[str]]:
    """Run the faults *names* one after the other; return what was seen, and what should have been and was not."""
    # A segment is looked at for retention every 5 minutes: sped up, topics would lose what the faults leave unread.
    settings = {"log.retention.check.interval.ms": "86400000", "group.min.session.timeout.ms": "1000"}
    wrong: list[str] = []
    brought: list[Brought] = []
    with (
        tempfile.TemporaryDirectory(prefix="leadpulse-alerts-") as folder,
        Kafka(settings, lasting=True) as kafka,
        Redis() as store,
    ):
        stage = Stage(factor, kafka, store, Path(folder))
        await stage.prepare()
        background: list[asyncio.Task[None]] = []
        try:
            for worker in stage.workers:
                worker.up()
                background.append(asyncio.create_task(worker.supervise()))
            await stage.until(stage.all_ready, 60, "both workers are ready")
            with stage.watcher, load(stage, 100):
                timeline = Timeline(stage.watcher)
                background.append(asyncio.create_task(timeline.look()))
                quiet_s = 120 / factor + 20
                await asyncio.sleep(quiet_s)
                if timeline.spells:
                    raise AssertionError(f"fired without a fault: {timeline.spells}")
                click.echo(f"  quiet for {quiet_s:.0f} s under load", err=True)
                for name in names:
                    try:
                        brought.append(await bring_about(stage, timeline, name))
                    except AssertionError as err:
                        wrong.append(str(err))
                        click.echo(f"  {err}", err=True)
                with contextlib.suppress(AssertionError):
                    await stage.until(lambda: not timeline.now(), 4_500 / factor + 120, "all clears")
                wrong += [f"did not clear: {spell.summary}" for spell in timeline.spells if spell.cleared is None]
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            for worker in stage.workers:
                worker.down()
            stage.watcher.close()
    return [one.seen(timeline, factor) for one in brought], wrong


@click.command(help=__doc__)
@click.option("--factor", type=click.FloatRange(1, 15), default=10.0, show_default=True)
@click.option("--fault", "faults", type=click.Choice(list(FAULTS)), multiple=True, help="These alone.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), help="Add each fault there, a JSON line each.")
@click.option(
    "--write", "page", type=click.Path(dir_okay=False, path_type=Path), help="Put the table of all results into this page."
)
def main(factor: float, faults: Sequence[str], results: Path | None, page: Path | None) -> None:
    """Run and print the table."""
    try:
        seen, wrong = asyncio.run(run(factor, faults or list(FAULTS)))
    except AssertionError as err:
        raise click.ClickException(str(err)) from None
    if results is not None:
        results.parent.mkdir(exist_ok=True)
        with results.open("ab") as to:
            to.writelines(msgspec.json.encode(one) + b"\n" for one in seen)
        seen = [msgspec.json.decode(line, type=Seen) for line in results.read_bytes().splitlines()]
    if page is not None:
        report.write(page, "alerts", table(seen))
    click.echo(table(seen))
    if wrong:
        raise click.ClickException("\n".join(wrong))


if __name__ == "__main__":
    main()
