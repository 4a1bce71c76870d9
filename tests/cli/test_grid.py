"""`leadpulse grid`: check, show, diff, schema."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from tests.kit.grids import changed
from worker.cli.grid import grid as command
from worker.core.grid.models import grid_schema

GOOD = "grid: g\nversion: 1\nengagement: {rules: [{id: a, points: -1, on: email.bounced}]}\nstages: {mql: {enter: 5}}\n"
WARNED = changed(GOOD, {"engagement.rules.a.points": 9})
BAD = "grid: g\nversion: 1\nscore: {min: x}\nstages: {mql: {enter: y}}\n"


def run(*args: str) -> Result:
    """Run `leadpulse grid` with *args*."""
    return CliRunner().invoke(command, args)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make three files and go there, so that messages name them as one would."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("good", GOOD), ("warned", WARNED), ("bad", BAD)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.mark.usefixtures("write")
def test_check_names_file_line_path_and_fails() -> None:
    """As compilers do, so that editors jump there; all files are looked at."""
    result = run("check", "bad.yaml", "good.yaml")
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("bad.yaml:3: score.min: write a number")
    assert lines[1].startswith("bad.yaml:4: stages.mql.enter: write a number")
    assert lines[2] == "good.yaml: ok: g version 1, 1 rule, no warnings"


@pytest.mark.usefixtures("write")
def test_warnings_fail_only_when_strict() -> None:
    """A grid that misleads still works."""
    result = run("check", "warned.yaml")
    assert result.exit_code == 0
    assert "warned.yaml:3: engagement.rules[0].on: warning: " in result.stderr
    assert run("check", "--strict", "warned.yaml").exit_code == 1
    assert run("check", "--strict", "good.yaml").exit_code == 0


def test_traits_that_no_event_sets_are_named(write: Path) -> None:
    """A trait of one's own may have any name, so only the events tell whether a source sets it."""
    grid = "grid: g\nversion: 1\nfit:\n  rules:\n    - {id: a, points: -1, where: {company.siez: 5, tags: x, plan: y}}\n"
    (write / "traits.yaml").write_text(grid + "stages: {mql: {enter: 5}}\n")
    event = {"specversion": "1.0", "id": "1", "source": "/", "type": "profile.updated", "subject": "L"}
    lines = [
        {**event, "time": "2026-01-01T00:00:00Z", "data": {"traits": {"tags": ["x"], "plan": None}}},
        {**event, "time": "2026-01-01T00:00:00Z", "data": {"traits": {".".join("a" * 20): 1}}},
    ]
    (write / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "\nnonsense\n")
    alone = run("check", "traits.yaml").stderr
    assert "traits.yaml:5: fit.rules[0].where.company.siez: warning: " in alone
    assert "did you mean 'company.size'?" in alone
    assert "'plan'" not in alone
    found = run("check", "traits.yaml", "--events", "events.jsonl")
    assert found.exit_code == 0
    assert "neither an event of the file nor a schema sets the trait 'plan'" in found.stderr
    assert "'tags'" not in found.stderr
    assert "did you mean 'company.size'?" in found.stderr


@pytest.mark.usefixtures("write")
def test_a_file_that_sets_no_trait_is_named(write: Path) -> None:
    """A table given in the place of events would else blame every trait of the grid."""
    (write / "crm.csv").write_text("E-mail;Fonction\na@x.example;CTO\n")
    found = run("check", "good.yaml", "--events", "crm.csv")
    assert found.stderr.startswith("warning: no event of crm.csv sets a trait; `leadpulse convert`")


def test_a_model_of_a_vendor_is_found_by_its_short_name() -> None:
    """The examples are many, so that the list of grids leaves them out."""
    assert "did you mean examples/hubspot?" in run("check", "hubspot").stderr


@pytest.mark.usefixtures("write")
def test_check_as_json_is_one_object_a_file() -> None:
    """For CI and for editors."""
    result = run("check", "--json", "good.yaml", "warned.yaml", "bad.yaml", "missing.yaml")
    good, warned, bad, missing = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert (good["ok"], good["grid"]["name"], good["mistakes"], good["warnings"]) == (True, "g", [], [])
    assert {one["code"] for one in warned["warnings"]} >= {"everything-scored", "one-signal", "no-cap"}
    assert [(one["line"], one["path"]) for one in bad["mistakes"]] == [(3, "score.min"), (4, "stages.mql.enter")]
    assert "saas-b2b" in missing["mistakes"][0]["message"]


@pytest.mark.usefixtures("write")
def test_a_preset_is_named_without_a_path() -> None:
    """From any directory."""
    assert run("check", "--strict", "saas-b2b", "pivot-15").exit_code == 0


def test_check_without_a_file_is_wrong_usage() -> None:
    """Exit 2, as for every command."""
    assert run("check").exit_code == 2


def test_show_writes_markdown_or_html(write: Path) -> None:
    """Markdown to stdout for a wiki; a file that ends in .html is a page."""
    assert run("show", "saas-b2b").stdout.startswith("# Scoring grid saas-b2b")
    assert run("show", "saas-b2b", "--format", "html").stdout.startswith("<!doctype html>")
    result = run("show", "saas-b2b", "--out", "page.html")
    assert result.stdout == ""
    assert (write / "page.html").read_text().startswith("<!doctype html>")
    assert run("show", "saas-b2b", "--out", "nowhere/page.html").exit_code == 1


@pytest.mark.usefixtures("write")
def test_show_and_diff_refuse_a_grid_with_mistakes() -> None:
    """With the same words as check."""
    for args in (("show", "bad.yaml"), ("diff", "good.yaml", "bad.yaml")):
        result = run(*args)
        assert result.exit_code == 1
        assert "bad.yaml:3: score.min" in result.stderr


@pytest.mark.usefixtures("write")
def test_diff_says_what_changes_and_what_to_replay() -> None:
    """In words, and as JSON with both hashes."""
    words = run("diff", "good.yaml", "warned.yaml").stdout
    assert "engagement.a.points: −1 → +9" in words
    assert "raise `version`" in words
    assert "Nothing needs to be replayed" in words
    assert run("diff", "good.yaml", "good.yaml").stdout == "The grids are the same byte for byte.\n"
    answer = json.loads(run("diff", "--json", "good.yaml", "saas-b2b").stdout)
    assert answer["from"]["name"] == "g"
    assert len(answer["to"]["sha256"]) == 64
    assert {"kind": "rule", "id": "demo", "why": "it is new, and its past is not counted"} in answer["replay"]


def test_diff_asks_for_no_new_version_where_only_labels_change(write: Path) -> None:
    """They are outside of the content hash, so outputs name the grid as before."""
    text = (write / "good.yaml").read_text()
    (write / "labelled.yaml").write_text(text.replace("id: a,", "id: a, label: Seen,"))
    words = run("diff", "good.yaml", "labelled.yaml").stdout
    assert "engagement.a.label: nothing → Seen" in words
    assert "raise `version`" not in words


def test_the_schema_beside_the_presets_is_the_one_of_the_models() -> None:
    """Editors read the file; make it anew with `leadpulse grid schema > grids/grid.schema.json`."""
    assert json.loads(run("schema").stdout) == grid_schema()
    assert json.loads(files("grids").joinpath("grid.schema.json").read_text()) == grid_schema()


@pytest.mark.parametrize("name", ["saas-b2b", "pivot-15"])
def test_the_schema_takes_the_presets_as_written(name: str) -> None:
    """An editor must not underline what the worker takes."""
    jsonschema.Draft202012Validator.check_schema(grid_schema())
    written = YAML(typ="safe", pure=True).load(files("grids").joinpath(f"{name}.yaml").read_text())
    jsonschema.validate(json.loads(json.dumps(written)), grid_schema())


@pytest.mark.parametrize(
    "wrong",
    [
        {"verison": 1},
        {"version": "1"},
        {"engagement": {"rules": [{"id": "a", "points": 1, "on": "page.view"}]}},
        {"engagement": {"half_life": "14 days"}},
        {"fit": {"rules": [{"id": "a", "points": 1, "where": {"a": None}}]}},
        {"fit": {"rules": [{"id": "a", "points": 1, "where": {"a": {"gtee": 1}}}]}},
        {"velocity": [{"id": "a", "on": "page.viewed", "count": "weeks", "within": "7d", "steps": {"1": 1}}]},
        {"velocity": [{"id": "a", "on": "page.viewed", "count": "days", "within": "7h", "steps": {"1": 1}}]},
    ],
)
def test_the_schema_refuses_what_the_check_refuses(wrong: dict[str, object]) -> None:
    """So that most mistakes are underlined while they are made."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"grid": "g", "version": 1, **wrong}, grid_schema())
