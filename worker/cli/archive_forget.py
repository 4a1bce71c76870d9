"""`leadpulse archive forget`: erases a person from all files."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from worker.cli.archive_common import opened, place_option
from worker.cli.common import json_line, load, run_async, settings_flags
from worker.core.contract.printable import plain
from worker.errors import HistoryError
from worker.settings import ReaderSettings


class Erased(msgspec.Struct, frozen=True):
    """Output of `leadpulse archive forget`."""

    lead_id: str
    ids: list[str]
    files: int
    records: int


@click.command()
@click.argument("lead")
@place_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-redis", is_flag=True, help="Take the person's ids from the archive alone.")
@settings_flags("redis", "namespace", "partitions", of=ReaderSettings)
def forget(lead: str, place: str | None, yes: bool, no_redis: bool, **flags: Any) -> None:
    """Erase LEAD, and every other id of the same person, from all files.

    `leadpulse erase` does it too, by the `lead.erased` that `archive run` reads. Use this one for an archive that no process
    writes any more. Records keep their place and time. Prints one JSON object; `erasures/` has the receipts.
    """
    from worker.history.forget import Busy
    from worker.history.links import ids_of
    from worker.history.operations import forget_person
    from worker.history.records import open_history
    from worker.queries.persons import ids_of_person

    place, files = opened(place)
    settings = load(ReaderSettings, flags)
    try:
        ids = ids_of(open_history(place), lead)
        if not no_redis:
            ids += [one.lead for one in run_async(ids_of_person(settings, lead))]
        ids = list(dict.fromkeys([lead, *ids]))
        if not yes:
            click.confirm(f"Erase {', '.join(map(plain, ids))} from the archive for good?", abort=True, err=True)
        done = forget_person(files, ids)
    except (Busy, HistoryError, OSError) as error:
        raise click.ClickException(str(error)) from None
    assert done is not None, "nothing stops it"
    click.echo(json_line(Erased(lead, ids, done.files, done.records)))
