"""`leadpulse learn experiment`, from the plan to the judgement."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.kit.archives import WEB, add_file, event
from worker.cli import cli
from worker.core.scoring.calendar import rfc3339
from worker.history.form import Role
from worker.presets import read_grid

DAY = 86_400_000
START = 1_788_220_800_000
"""2026-09-01T00:00:00Z."""
GRIDS = {"champion": read_grid("saas-b2b"), "challenger": read_grid("article-75")}


def run(*words: str | Path) -> Result:
    """Run `leadpulse learn experiment`."""
    return CliRunner().invoke(cli, ["learn", "experiment", *map(str, words)], catch_exceptions=False)


def planned(folder: Path, *more: str) -> Result:
    """Plan the experiment `autumn`."""
    grids = ("-g", "saas-b2b", "-g", "article-75")
    size = ("--moved", "40", "--rate", "0.2", *(more or ("--weeks", "6")))
    return run(
        "plan", "--name", "autumn", *grids, *size, "--within", "30d", "--start", rfc3339(START), "--out", folder / "plan.json"
    )


def sql(arm: str, lead: str, day: float, sha256: str | None = None) -> tuple[float, str]:
    """A handover by the grid of *arm*."""
    grid = {"name": "g", "version": 1, "sha256": sha256 or GRIDS[arm].sha256}
    return day, line("lead.sql", f"/leadpulse/{arm}", lead, day, {"grid": grid})


def line(type_: str, source: str, lead: str, day: float, data: object) -> str:
    """An event."""
    held = {"specversion": "1.0", "id": f"{lead}:{day}", "source": source, "type": type_, "subject": lead, "data": data}
    return json.dumps(held | {"time": rfc3339(START + round(day * DAY))})


def logs(folder: Path, leads: int, last_day: float) -> tuple[str, ...]:
    """Write both logs and return the options: each grid hands over its own half of the leads, and those of A are won."""
    champion = [sql("champion", f"a{n}", 1 + n / leads) for n in range(leads)]
    champion += [(3.0, line("crm.won", "/crm", f"a{n}", 3.0, {"amount": 1})) for n in range(leads) if n % 2]
    challenger = [sql("challenger", f"b{n}", 1 + n / leads) for n in range(leads)]
    for arm, lines in (("champion", champion), ("challenger", challenger)):
        lines.append((last_day, line("page.viewed", "/site", "z", last_day, {"url": "https://a.example/"})))
        (folder / f"{arm}.jsonl").write_text("".join(f"{text}\n" for _, text in sorted(lines)))
    files = [str(folder / f"{arm}.jsonl") for arm in GRIDS]
    return "--champion", files[0], "--challenger", files[1], "--leads", str(folder / "leads.csv")


def test_a_plan_says_what_it_can_see_and_is_never_written_again(tmp_path: Path) -> None:
    """With the outcome, the seed, the end and the hashes of both grids in it."""
    done = planned(tmp_path)
    assert done.exit_code == 0, done.output
    assert "6 weeks, 120 leads an arm. The test can see 20.0% against 36.4%, and nothing smaller." in done.output
    assert "Nothing is compared before 2026-11-12." in done.output
    held = json.loads((tmp_path / "plan.json").read_text())
    assert [held[arm]["sha256"] for arm in GRIDS] == [grid.sha256 for grid in GRIDS.values()]
    assert (held["outcome"], held["seed"], held["to_ms"]) == ("won", 1, START + 42 * DAY)
    again = planned(tmp_path, "--weeks", "9")
    assert again.exit_code == 1
    assert "a plan does not change" in again.output
    assert json.loads((tmp_path / "plan.json").read_text()) == held


def test_weeks_follow_from_a_difference(tmp_path: Path) -> None:
    """And a test that can see nothing is refused."""
    assert "86 weeks, 1,720 leads an arm" in planned(tmp_path, "--difference", "0.04").output
    assert not (tmp_path / "other.json").exists()
    few = ("--name", "n", "-g", "saas-b2b", "-g", "article-75", "--moved", "1", "--rate", "0.9", "--weeks", "2")
    refused = run("plan", *few, "--start", rfc3339(START), "--out", tmp_path / "other.json")
    assert (refused.exit_code, "show no difference at all" in refused.output) == (1, True)
    same = run("plan", "--name", "n", "-g", "saas-b2b", "-g", "saas-b2b", *few[6:], "--start", rfc3339(START), "--out", "x")
    assert (same.exit_code, "both grids are the same" in same.output) == (2, True)


def test_before_the_end_only_counts_are_shown(tmp_path: Path) -> None:
    """Whatever the outcomes are by then; the list for sales is there, and it stays."""
    assert planned(tmp_path).exit_code == 0
    early = run("read", tmp_path / "plan.json", *logs(tmp_path, 100, 60))
    assert early.exit_code == 0, early.output
    assert "200 leads take part" in early.output
    assert "Come back when they reach 2026-11-12" in early.output
    assert "difference" not in early.output
    assert "won" not in early.output
    assert json.loads(run("read", tmp_path / "plan.json", *logs(tmp_path, 100, 60), "--json").output)["judgement"] is None
    rows = list(csv.DictReader((tmp_path / "leads.csv").open()))
    assert len(rows) == 200
    assert all((row["called_by"] == row["arm"]) == (row["hand_over"] == "yes") for row in rows)
    turned = (tmp_path / "leads.csv").read_text().replace("a5,", "a5x,")
    (tmp_path / "leads.csv").write_text(turned)
    assert run("read", tmp_path / "plan.json", *logs(tmp_path, 100, 61)).exit_code == 0
    assert "a5x," in (tmp_path / "leads.csv").read_text()


def test_at_the_end_the_arms_are_compared(tmp_path: Path) -> None:
    """By the arm, not by who was called; here the outcome has nothing to do with the arm."""
    assert planned(tmp_path).exit_code == 0
    done = run("read", tmp_path / "plan.json", *logs(tmp_path, 200, 73))
    assert "the test shows none. It was made to see 16.4 points" in done.output
    held = json.loads(run("read", tmp_path / "plan.json", *logs(tmp_path, 200, 73), "--json").output)["judgement"]
    assert held["champion"][0] + held["challenger"][0] == 100
    assert held["low"] < 0 < held["high"]
    assert not held["shown"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace(GRIDS["champion"].sha256, "f" * 64), "another grid than saas-b2b version"),
        (lambda text: text.replace("lead.sql", "lead.mql"), "there is no lead.sql in it"),
    ],
)
def test_logs_that_do_not_fit_the_plan_are_refused(tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    """A grid that changed meanwhile, and a namespace without a worker."""
    assert planned(tmp_path).exit_code == 0
    options = logs(tmp_path, 20, 73)
    (tmp_path / "champion.jsonl").write_text(spoil((tmp_path / "champion.jsonl").read_text()))
    done = run("read", tmp_path / "plan.json", *options)
    assert (done.exit_code, words in done.output) == (1, True), done.output


def test_files_that_are_no_plan_or_no_list_are_named(tmp_path: Path) -> None:
    """With the line."""
    assert planned(tmp_path).exit_code == 0
    options = logs(tmp_path, 20, 73)
    (tmp_path / "leads.csv").write_text("lead,at,called_by,arm,hand_over\na1,yesterday,champion,champion,yes\n")
    done = run("read", tmp_path / "plan.json", *options)
    assert (done.exit_code, "leads.csv:2: not a line of lead" in done.output) == (1, True)
    none = run("read", tmp_path / "leads.csv", *options)
    assert (none.exit_code, "`experiment plan` wrote" in none.output) == (1, True)


def test_archives_of_both_namespaces_are_read(tmp_path: Path) -> None:
    """As `archive run` writes them."""
    assert planned(tmp_path).exit_code == 0
    logs(tmp_path, 20, 73)
    places = {}
    for arm in GRIDS:
        places[arm] = tmp_path / arm
        lines = (tmp_path / f"{arm}.jsonl").read_text().splitlines()
        roles: tuple[tuple[str, Role], ...] = (("hot", "output"), (WEB, "input"))
        for topic, role in roles:
            held = [one for one in map(json.loads, lines) if (one["type"] == "lead.sql") == (role == "output")]
            add_file(places[arm], [event(at, topic=topic, **one) for at, one in enumerate(held)], role)
    given = ("--champion", places["champion"], "--challenger", places["challenger"], "--leads", tmp_path / "leads.csv")
    done = run("read", tmp_path / "plan.json", *given, "--clock", "events", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert sum(found["leads"].values()) == 40
    assert found["judgement"]["champion"][0] + found["judgement"]["challenger"][0] == 10
