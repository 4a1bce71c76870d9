"""`leadpulse learn rates` and `learn fit`, as a marketer runs them: an export becomes a grid that the worker can run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.kit.outcomes import leads
from worker.cli import cli
from worker.learning.accuracy import auc

MADE = leads(2400, 11, level=-1.5)
TRAITS = [name for name in MADE.columns if name != "Prospect"]


def run(*words: str) -> Result:
    """Run `leadpulse`."""
    return CliRunner().invoke(cli, list(words), catch_exceptions=False, env={"COLUMNS": "300"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export, its table, and the proposal of a fit on its first 1,600 leads."""
    made = tmp_path_factory.mktemp("learn")
    with (made / "leads.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["Converted", "Number", *MADE.columns])
        for i in range(1600):
            rows.writerow([int(MADE.won[i]), i, *(column[i] for column in MADE.columns.values())])
    table = str(made / "t.parquet")
    options = ("--outcome", "Converted", "--won", "1", "--id", "Prospect", "--order", "Number", "--out", table)
    assert run("learn", "table", str(made / "leads.csv"), *options).exit_code == 0
    fitted = run("learn", "fit", table, "--out", str(made / "out"))
    assert fitted.exit_code == 0, fitted.stderr
    (made / "said").write_text(fitted.stderr)
    return made


def test_two_commands_give_a_grid_that_the_check_passes(folder: Path) -> None:
    """Without a mistake or a warning, and with a report and a model beside it."""
    checked = run("grid", "check", "--strict", str(folder / "out" / "proposed.yaml"))
    assert (checked.exit_code, "no warnings" in checked.stderr) == (0, True)
    assert {path.name for path in (folder / "out").iterdir()} == {"proposed.yaml", "report.html", "report.json", "model.json"}
    said = (folder / "said").read_text()
    assert "left out: Newsletter: it has the same value for all leads" in said
    assert "Tested forward in time" in said
    assert "put proposed.yaml in force yourself" in said


def test_the_worker_scores_new_leads_as_well_as_the_fit(folder: Path) -> None:
    """Leads that were not fitted, as `profile.updated` events: stages close in their order."""
    lines = []
    for i in range(1600, MADE.won.size):
        traits = {name: MADE.columns[name][i] for name in TRAITS if MADE.columns[name][i]}
        event = {"specversion": "1.0", "id": f"e{i}", "source": "/crm", "type": "profile.updated", "subject": str(i)}
        lines.append({**event, "time": "2026-03-05T12:00:00Z", "data": {"traits": traits}})
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, lines)))
    grid = str(folder / "out" / "proposed.yaml")
    replayed = run("replay", "--grid", grid, "--leads", str(folder / "leads.jsonl"), str(folder / "events.jsonl"))
    assert replayed.exit_code == 0, replayed.stderr
    found = [json.loads(line) for line in (folder / "leads.jsonl").read_text().splitlines()]
    won = np.array([MADE.won[int(lead["lead_id"])] for lead in found])
    score = np.array([lead["score"] for lead in found], dtype=float)
    stage = np.array([lead["stage"] for lead in found])
    best = auc(MADE.truth[1600:], MADE.won[1600:])
    assert auc(score, won) > best - 0.03
    rates = [won[stage == name].mean() for name in ("contact", "sql")]
    assert rates[0] < won.mean() < rates[1]
    assert rates[1] > 0.8


def test_the_same_table_gives_the_same_bytes(folder: Path) -> None:
    """Of all four files."""
    assert run("learn", "fit", str(folder / "t.parquet"), "--out", str(folder / "again")).exit_code == 0
    for name in ("proposed.yaml", "report.html", "report.json", "model.json"):
        assert (folder / "out" / name).read_bytes() == (folder / "again" / name).read_bytes(), name


def test_rates_have_counts_words_and_points(folder: Path) -> None:
    """As text, JSON and a page."""
    table = str(folder / "t.parquet")
    shown = run("learn", "rates", table)
    assert "Working Professional" in shown.output
    page = folder / "rates.html"
    found = json.loads(run("learn", "rates", table, "--json", "--html", str(page)).stdout)
    lines = {(line["field"], line["name"]): line for line in found["attributes"]}
    line = lines["Lead Source", "Reference"]
    of = [MADE.won[i] for i in range(1600) if MADE.columns["Lead Source"][i] == "Reference"]
    assert (line["n"], line["won"], line["word"], line["now"]) == (len(of), sum(of), "solid", None)
    assert line["proposed"] > 0
    assert line["likely"][0] < line["rate"] < line["likely"][1]
    assert page.read_text().count("<svg") == 1


GRID = """\
# Ours since spring
grid: ours
version: 4
traits: [Lead Source, What is your current occupation]
fit:
  max: 60
  rules:
    - {id: reference, points: 5, where: {Lead Source: Reference}}  # they know us
    - id: role
      points: {table: What is your current occupation, values: {Working Professional: -10, Student: 0}}
    - {id: unknown-to-us, points: 7, where: {Favourite Colour: blue}}
stages:
  mql: {enter: 50, leave: 40}
  sql: {enter: 75, leave: 60}
"""


def test_a_grid_of_ones_own_keeps_its_text(folder: Path) -> None:
    """Only numbers change, each with the old one in a comment; what no lead shows stays by hand."""
    (folder / "ours.yaml").write_text(GRID)
    fitted = run(
        "learn", "fit", str(folder / "t.parquet"), "--grid", str(folder / "ours.yaml"), "--p-sql", "0.7",
        "--out", str(folder / "of-ours"),
    )  # fmt: skip
    assert fitted.exit_code == 0, fitted.stderr
    text = (folder / "of-ours" / "proposed.yaml").read_text()
    assert text.startswith("# Ours since spring\ngrid: ours\nversion: 4\n")
    assert "points: 7, where: {Favourite Colour: blue}}\n" in text
    assert "# they know us  # was 5; solid: " in text
    assert "was -10; solid: " in text
    report = json.loads((folder / "of-ours" / "report.json").read_text())
    points = {row["name"]: row["points"] for row in report["attributes"]}
    assert points["reference"] > 20
    assert points["role/Working Professional"] > 20
    assert (points["unknown-to-us"], report["thresholds"]["sql"]["p"] == pytest.approx(0.7, abs=0.1)) == (7, True)


def test_leaks_stop_the_fit_until_they_are_dropped_or_allowed(folder: Path) -> None:
    """By name, with exit code 1 and nothing written."""
    text = (folder / "leads.csv").read_text().splitlines()
    text = [text[0] + ",Signed on", *(f"{line}{',x' if line[0] == '1' and i % 3 else ','}" for i, line in enumerate(text[1:]))]
    (folder / "leaky.csv").write_text("\n".join(text))
    table, out = str(folder / "leaky.parquet"), folder / "leaky"
    run("learn", "table", str(folder / "leaky.csv"), "--outcome", "Converted", "--won", "1", "--id", "Prospect", "--out", table)
    stopped = run("learn", "fit", table, "--out", str(out))
    assert (stopped.exit_code, out.exists()) == (1, False)
    assert "refuse: Signed on: " in stopped.stderr
    assert '--drop "Signed on"' in stopped.stderr
    assert run("learn", "fit", table, "--drop", "Signed on", "--out", str(out)).exit_code == 0
    assert "Signed on" not in (out / "proposed.yaml").read_text()
    assert run("learn", "fit", table, "--allow", "Signed on", "--out", str(out)).exit_code == 0
    assert "# suspect: " in (out / "proposed.yaml").read_text()
    typo = run("learn", "fit", table, "--drop", "Signed", "--out", str(out))
    assert "--drop Signed: the table has no such column, trait or event" in typo.stderr


def test_a_fit_that_is_too_good_says_so(folder: Path) -> None:
    """A column of the outcome that was allowed; an honest fit has no such words."""
    text = (folder / "leads.csv").read_text().splitlines()
    text = [text[0] + ",Signed on", *(f"{line}{',x' if line[0] == '1' and i % 40 else ','}" for i, line in enumerate(text[1:]))]
    (folder / "good.csv").write_text("\n".join(text))
    table, out = str(folder / "good.parquet"), folder / "good"
    options = ("--outcome", "Converted", "--won", "1", "--id", "Prospect", "--order", "Number", "--out", table)
    run("learn", "table", str(folder / "good.csv"), *options)
    fitted = run("learn", "fit", table, "--allow", "Signed on", "--p-sql", "0.5", "--out", str(out))
    assert fitted.exit_code == 0, fitted.stderr
    assert "too good to be true" in fitted.stderr
    assert "too good to be true" in (out / "report.html").read_text()
    assert "too good" not in (folder / "said").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--capacity", "40/week"), "the table has no times"),
        (("--capacity", "40"), "write calls a week, as in 40/week"),
        (("--p-sql", "20"), "write a share between 0 and 1"),
        (("--p-sql", "0.2", "--capacity", "10%"), "give one of"),
        (("--value", "1000"), "give both --value"),
        (("--value", "100", "--cost", "90"), "SQL would mean 1.8 won"),
        (("--share", "0.5"), "give it with --value and --cost"),
        (("--p-sql", "0.05"), "the ordinary lead closes at"),
    ],
)
def test_options_that_say_nothing_are_refused(folder: Path, options: tuple[str, ...], says: str) -> None:
    """With the fault and what to write."""
    refused = run("learn", "fit", str(folder / "t.parquet"), *options, "--out", str(folder / "no"))
    assert (refused.exit_code, says in refused.stderr) == (1, True), refused.stderr
    assert not (folder / "no").exists()
