"""`leadpulse learn score`: scores of a table from the command line."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.kit.models import a_model
from worker.cli import cli
from worker.core.grid.models import parse_grid

EXPORT = """Lead;Role;Size;Status
00017;CEO;120;won
x 2;intern;;lost
Zoë;;1000;lost
"""
GRID = """
grid: g
version: 1
fit:
  max: 40
  rules:
    - {id: boss, points: 30, where: {Role: {words: [ceo]}}}
    - {id: intern, points: -10, where: {Role: intern}}
    - {id: size, points: {table: Size, bands: [[0, 5], [100, 15]], else: 2}}
"""


def run(*words: str) -> Result:
    """Run `leadpulse learn`."""
    return CliRunner().invoke(cli, ["learn", *words], catch_exceptions=False)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A table of three leads."""
    (tmp_path / "leads.csv").write_text(EXPORT, encoding="utf-8")
    out = str(tmp_path / "t.parquet")
    made = run("table", str(tmp_path / "leads.csv"), "--outcome", "Status", "--won", "won", "--id", "Lead", "--out", out)
    assert made.exit_code == 0, made.stderr
    return out


@pytest.fixture
def grid(tmp_path: Path) -> str:
    """A grid of fit alone."""
    (tmp_path / "g.yaml").write_text(GRID)
    return str(tmp_path / "g.yaml")


def rows(text: str) -> list[list[str]]:
    """Return the cells of a CSV file."""
    return list(csv.reader(io.StringIO(text)))


def test_each_row_has_its_score_in_the_order_of_the_file(table: str, grid: str) -> None:
    """Ids as they were written, a clamp obeyed, a blank no value of a trait."""
    result = run("score", table, "--grid", grid)
    assert result.exit_code == 0, result.stderr
    assert rows(result.stdout) == [
        ["id", "score", "fit", "engagement", "p"],
        ["00017", "40", "40", "0", ""],
        ["x 2", "-10", "-10", "0", ""],
        ["Zoë", "15", "15", "0", ""],
    ]


def test_a_model_gives_each_row_its_chance(table: str, grid: str, tmp_path: Path) -> None:
    """By the formula of the model, and into a file."""
    weights = {"boss": [1.5, 0.3], "size/0": [-0.5, 0.1], "size/100": [0.4, 0.2]}
    model = a_model(parse_grid(GRID, "g.yaml"), weights, intercept=-1.0, calibration=[0.1, 0.9])
    (tmp_path / "model.json").write_text(json.dumps(model))
    out = tmp_path / "s.csv"
    result = run("score", table, "--grid", grid, "--model", str(tmp_path / "model.json"), "--out", str(out))
    assert result.exit_code == 0, result.stderr
    boss, nothing, large = (float(row[4]) for row in rows(out.read_text(encoding="utf-8"))[1:])
    nobody = -1.0 - 1.5 * 0.3 + 0.5 * 0.1 - 0.4 * 0.2

    def chance(added: float) -> float:
        return round(1 / (1 + math.exp(-(0.1 + 0.9 * (nobody + added)))), 3)

    assert (boss, nothing, large) == (chance(1.5 + 0.4), chance(0.0), chance(0.4))


def test_a_model_of_another_grid_is_refused(table: str, grid: str, tmp_path: Path) -> None:
    """With what is counted otherwise."""
    other = parse_grid(GRID.replace("[ceo]", "[cmo]"), "g.yaml")
    (tmp_path / "model.json").write_text(json.dumps(a_model(other)))
    result = run("score", table, "--grid", grid, "--model", str(tmp_path / "model.json"))
    assert result.exit_code == 1
    assert "changed: boss" in result.stderr


def test_a_file_that_is_no_table_is_refused(tmp_path: Path, grid: str) -> None:
    """With the command that makes one."""
    (tmp_path / "t.parquet").write_text("id,score")
    result = run("score", str(tmp_path / "t.parquet"), "--grid", grid)
    assert result.exit_code == 1
    assert "leadpulse learn table" in result.stderr
