"""`python -m tests.kit.digest`: the form of the core that runs; digests of the states and outputs of a log by five grids."""

from __future__ import annotations

import hashlib

import click

from tests.kit.lively import GRID, LOW, SHORT_LIVED, TAKING, UNFIT, folded, traffic
from worker.build_flavour import form
from worker.core.batch import plan
from worker.core.scoring import fold, score

modules = {str(module.__file__).endswith(".py") for module in (fold, plan, score)}
assert modules == {form() == "pure"}, "core modules of both forms"
click.echo(form())
log = traffic(3)
for grid in (GRID, LOW, SHORT_LIVED, UNFIT, TAKING):
    states, fields, outputs = folded(grid, log, 500)
    assert outputs
    click.echo(hashlib.sha256(repr((sorted(states.items()), fields, outputs)).encode()).hexdigest())
