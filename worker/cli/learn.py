"""`leadpulse learn`: points and probabilities from outcomes. A command a file; each is imported when it is used."""

from __future__ import annotations

from typing import Final

import click

from worker.cli.lazy import LazyGroup

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "table": ("worker.cli.learn_table", "table"),
    "leaks": ("worker.cli.learn_leaks", "leaks"),
    "rates": ("worker.cli.learn_rates", "rates"),
    "fit": ("worker.cli.learn_fit", "fit"),
    "compare": ("worker.cli.learn_compare", "compare"),
    "report": ("worker.cli.learn_report", "report"),
    "score": ("worker.cli.learn_score", "score"),
    "experiment": ("worker.cli.learn_experiment", "experiment"),
}
"""Name → module and attribute."""


@click.group(cls=LazyGroup, commands_in=COMMANDS)
def learn() -> None:
    """Learn from outcomes which leads close.

    Needs the extra `learn`. Nothing here changes points by itself: a person puts a proposed grid in force.
    """
