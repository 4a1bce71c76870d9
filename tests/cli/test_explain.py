"""`leadpulse explain` over files: the page, the object and the picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.kit.grids import changed
from tests.kit.models import TRAINED, with_a_model
from tests.kit.shell import GRID, ROOT, a_file, event, leadpulse
from worker.cli.plot import Drawing, Mark, drawn
from worker.core.grid.models import parse_grid
from worker.core.insight.trajectory import Sample
from worker.core.scoring.state import STAGES

WIDE = {"COLUMNS": "160"}


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Write the grid of these tests."""
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def said_of(lead: str, events: Path, grid: Path, *more: str | Path) -> str:
    """Return the page of *lead*."""
    done = leadpulse("explain", lead, "--events", events, "--grid", grid, *more, env=WIDE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told_of(lead: str, events: Path, grid: Path, *more: str | Path) -> dict[str, Any]:
    """Return the JSON of *lead*."""
    told: dict[str, Any] = json.loads(said_of(lead, events, grid, "--json", *more))
    return told


def test_reasons_shown_add_up_to_the_score(tmp_path: Path, grid: Path) -> None:
    """The waterfall ends where the score stands, also when time has passed; so do its sums."""
    for at in ("2026-03-02T11:00:00Z", "2026-04-10T00:00:00Z"):
        lead = told_of("ann", a_file(tmp_path), grid, "--at", at)
        for parts in (lead["reasons"], lead["waterfall"]):
            assert sum(part["points"] for part in parts) == pytest.approx(lead["score"], abs=1e-6)
        sums = lead["totals"]
        assert sums["earned"] + sums["by_time"] + sums["by_cap"] == pytest.approx(lead["score"], abs=1e-6)
        assert lead["as_of"] == at.replace("Z", ".000Z")


def test_what_explain_foresees_is_what_a_replay_then_publishes(tmp_path: Path, grid: Path) -> None:
    """If nothing happens, the announced events come at the announced milliseconds, and no others."""
    path = a_file(tmp_path)
    lead = told_of("ann", path, grid)
    assert [change["type"] for change in lead["ahead"]] == ["lead.sla_breached", "lead.cooled", "lead.cooled"]
    until = lead["ahead"][-1]["time"]
    published = [
        json.loads(line)
        for line in leadpulse("replay", path, "-g", grid, "--at", until, "--events", "-").stdout.splitlines()[2:]
    ]
    assert lead["ahead"] == [
        {"time": one["time"], "type": one["type"], "from": one["data"]["from"], "to": one["data"]["to"]} for one in published
    ]


def test_explain_shows_the_waterfall_and_the_dossier(tmp_path: Path, grid: Path) -> None:
    """What a salesperson asks: who is it, why so hot, what did they do, what happens next."""
    said = said_of("ann", a_file(tmp_path), grid)
    for words in ("business-email", "+20.00", "visit", "5×", "ann@acme.example", "page.viewed /pricing", "if nothing happens"):
        assert words in said
    assert re.search(r"it cools to mql on 2026-03-\d\d \d\d:\d\d UTC, in \d+\.\d days", said)
    assert "sql is the top of the ladder" in said


def test_what_time_and_caps_took_is_shown_apart(tmp_path: Path, grid: Path) -> None:
    """Five visits are worth 50; a week halves them; a sixth and seventh would have met the cap of 60."""
    path = a_file(tmp_path)
    later = said_of("ann", path, grid, "--at", "2026-03-09T10:02:00Z")
    assert re.search(r"rule visit +\+50\.00 +-25\.00 +\+25\.00", later)
    assert "time took away 25.0 points (fading -25.0)" in later
    with path.open("a") as more:
        more.writelines(event(30 + i, "page.viewed", "ann", "2026-03-02T10:30:00Z", url="/") + "\n" for i in range(2))
    assert re.search(r"rule visit +\+70\.00 +-0\.\d\d +-9\.\d\d +\+60\.00", said_of("ann", path, grid))


def test_the_way_up_is_told_in_words(tmp_path: Path, grid: Path) -> None:
    """Bob has looked in twice: how far it is, and what would bring him there."""
    said = said_of("bob", a_file(tmp_path), grid)
    assert "to mql it takes 10.0 more points (it begins at 30)" in said
    assert re.search(r"page\.viewed \(visit\) +\+10\.0, once is enough for mql", said)
    assert "it does not cool" not in said
    up = told_of("bob", a_file(tmp_path), grid)["next_stage"]
    assert (up["standing"], up["to"], up["points"]) == ("climbing", "mql", 10)
    assert [(way["event"], way["times"]) for way in up["ways"]] == [("page.viewed", 1)]


def test_explain_says_when_a_lead_is_not_held_or_was_erased(tmp_path: Path, grid: Path) -> None:
    """Two different answers to a question about a person, neither of them a score."""
    path = a_file(tmp_path)
    with path.open("a") as more:
        more.write(event(90, "lead.erased", "bob", "2026-03-03T00:00:00Z") + "\n")
    for lead, words in (("eve", "is not held"), ("bob", "was erased")):
        done = leadpulse("explain", lead, "--events", path, "--grid", grid)
        assert done.returncode == 1
        assert words in done.stderr


# --- the picture -----------------------------------------------------------------------------------------------------


def words_in(svg: bytes) -> str:
    """Return all text of an SVG."""
    return "\n".join(ET.fromstring(svg).itertext())


def test_the_picture_is_drawn_beside_the_page(tmp_path: Path, grid: Path) -> None:
    """One run gives both, and says where the picture is; the same input gives the same bytes."""
    path = a_file(tmp_path)
    first, second = tmp_path / "ann.svg", tmp_path / "again.svg"
    done = leadpulse("explain", "ann", "--events", path, "--grid", grid, "--json", "--plot", first)
    assert json.loads(done.stdout)["lead_id"] == "ann"
    assert done.stderr.splitlines()[-1] == f"picture written to {first}"
    leadpulse("explain", "ann", "--events", path, "--grid", grid, "--plot", second)
    assert first.read_bytes() == second.read_bytes()
    words = words_in(first.read_bytes())
    for word in (
        "ann: 69.8 points",
        "page.viewed",
        "/pricing",
        "profile.updated",
        "stage sql",
        "fit",
        "engagement",
        "sql enter 55",
    ):
        assert word in words
    assert "bob" not in words


def test_a_png_is_drawn_as_well(tmp_path: Path, grid: Path) -> None:
    """For mails and slides."""
    picture = tmp_path / "bob.PNG"
    said_of("bob", a_file(tmp_path), grid, "--plot", picture)
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")


def test_a_picture_that_cannot_be_written_is_told_first(tmp_path: Path, grid: Path) -> None:
    """One line, before anything else is said."""
    absent = tmp_path / "absent" / "ann.svg"
    done = leadpulse("explain", "ann", "--events", a_file(tmp_path), "--grid", grid, "--plot", absent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {absent}: the folder {absent.parent} does not exist\n"


def test_without_matplotlib_the_picture_says_what_to_install(tmp_path: Path, grid: Path) -> None:
    """The plain package draws nothing, and everything else works."""
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    call = ("explain", "ann", "--events", a_file(tmp_path), "--grid", grid)
    done = leadpulse(*call, "--plot", tmp_path / "ann.svg", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: a picture needs matplotlib: pip install 'leadpulse[plot]'\n"
    assert leadpulse(*call, env=env).returncode == 0


def test_without_the_past_course_its_moves_and_marks_are_drawn() -> None:
    """What Redis holds of a lead: the last moves and events, and where it goes from here."""
    day, now = 86_400_000, 1_800_000_000_000
    to_come = [Sample(now + n * day, 60 - n, 20, 40 - n, 1 if n < 5 else 0) for n in range(9)]
    stages = [(now - 3 * day, "mql"), (now - 2 * day, "contact"), (now - day, "mql")]
    marks = [Mark(now - 3 * day, "page.viewed", "/pricing"), Mark(now - 3 * day, "demo.requested", "")]
    drawing = Drawing("ann", now, [], to_come, stages, [("mql enter", 50.0), ("mql leave", 50.0)], marks, STAGES)
    words = words_in(drawn(drawing, ".svg"))
    for word in ("the past course is not held", "/pricing", "demo.requested", "stage mql", "mql enter, mql leave 50"):
        assert word in words
    alone = Drawing("ann", now, [], to_come[:1], [], [], [], STAGES)
    assert "if nothing happens" in words_in(drawn(alone, ".svg"))


def test_what_an_event_says_gives_no_orders_to_terminal_or_picture(tmp_path: Path, grid: Path) -> None:
    """Visitors choose urls and form fields: escape sequences are shown as they are written, and `$` begins no formula."""
    lead = "a$x^$ \x1b]0;owned"
    path = tmp_path / "events.jsonl"
    path.write_text(event(1, "page.viewed", lead, "2026-03-02T10:00:00Z", url="/\x1b[31m$x^$") + "\n")
    picture = tmp_path / "lead.svg"
    page = said_of(lead, path, grid, "--plot", picture)
    assert "\x1b" not in page
    assert "\\x1b[31m$x^$" in page
    assert "<svg" in picture.read_text()


def test_labels_stand_in_the_language_asked_for(tmp_path: Path, grid: Path) -> None:
    """On the page and in the object; without a label, the id."""
    rule = next(rule for rule in parse_grid(GRID, "g.yaml").engagement.rules if "page.viewed" in rule.on)
    grid.write_text(changed(GRID, {f"engagement.rules.{rule.id}.label": {"en": "Looked", "fr": "A regardé"}}))
    path = a_file(tmp_path)
    french, english = (told_of("ann", path, grid, "--lang", language) for language in ("fr", "de"))
    assert {part.get("label") for part in french["waterfall"] if part.get("id") == rule.id} == {"A regardé"}
    assert (french["labels"], english["labels"]) == ({rule.id: "A regardé"}, {rule.id: "Looked"})
    assert "rule A regardé" in said_of("ann", path, grid, "--lang", "fr")


def test_steps_that_time_brings_are_on_the_page(tmp_path: Path, grid: Path) -> None:
    """With their instants, and the score from then on."""
    path = a_file(tmp_path)
    lead = told_of("ann", path, grid)
    assert {step["kind"] for step in lead["steps"]} >= {"inactivity"}
    page = said_of("ann", path, grid)
    for step in lead["steps"]:
        assert step["time"][:16].replace("T", " ") in page
    assert "points that time alone takes or gives at once" in page


def test_a_chance_is_explained_by_the_labels_of_the_grid(tmp_path: Path, grid: Path) -> None:
    """Everyone's, and what makes the lead's own; `null` with its reason below the gate."""
    text = changed(GRID, {"engagement.rules.visit.label": "Saw a page"})
    grid.write_text(with_a_model(text, {"visit": [0.5, 0.1], "idle_days": [-0.02, 5]}))
    events = a_file(tmp_path)
    (line,) = [one for one in said_of("ann", events, grid).splitlines() if one.startswith("won within")]
    found = told_of("ann", events, grid)["prediction"]
    assert line.startswith(f"won within 90 days: {100 * found['p']:.1f} %; odds: everyone 6.9 % · Saw a page ×")
    assert re.search(r" · (days idle|the rest) ×", line)
    grid.write_text(with_a_model(text, trained=TRAINED | {"won": 43}))
    assert "won within 90 days: no chance is given (too_few_wins: 43 of 100)" in said_of("ann", events, grid)
