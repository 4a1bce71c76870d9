"""`leadpulse accounts`: companies, by the sum of their leads' scores."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from worker.cli.common import json_line, load, run_async, settings_flags, show
from worker.core.contract.printable import plain
from worker.queries.accounts import largest_accounts
from worker.settings import ReaderSettings


@click.command()
@click.option(
    "--count", "-n", type=click.IntRange(1, 100_000), default=20, metavar="N", help="Number of accounts.  [default 20]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per account, with its leads.")
@settings_flags("redis", "namespace", "partitions")
def accounts(count: int, as_json: bool, **flags: Any) -> None:
    """List the accounts whose leads together have the highest scores.

    Reads Redis only. An account is listed if the grid has `accounts` and at least one of its leads counts. Each score is the
    lead's last report to its account. It differs from the present score by less than the grid's `accounts.step`.
    """
    rows = run_async(largest_accounts(load(ReaderSettings, flags), count))
    if as_json:
        for row in rows:
            click.echo(json_line(row))
    else:
        show(_table(rows))
    if not rows:
        click.echo("this namespace has no accounts: the grid in force needs `accounts`", err=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("account", no_wrap=True)
    for name in ("leads", "sum", "max"):
        table.add_column(name, justify="right")
    for name in ("", "roles", "leads, the highest first"):
        table.add_column(name)
    for row in rows:
        leads = ", ".join(f"{plain(member['lead_id'])} {member['score']:.1f}" for member in row["members"][:5])
        table.add_row(
            plain(row["account_id"].partition(":")[2]),
            str(row["leads"]),
            f"{row['sum']:.1f}",
            f"{row['max']:.1f}",
            "hot" if row["hot"] else "",
            ", ".join(row["roles"]),
            leads + (", …" if row["leads"] > 5 else ""),
        )
    return table
