"""`leadpulse archive`, `replay ARCHIVE` and `explain --archive`, as commands."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.kit.archives import NOON_MS, add_file, event, tick
from worker.cli import cli
from worker.core.contract.model import Record

DAY_MS = 86_400_000


def history(folder: Path) -> tuple[Path, Path]:
    """Return the same events as an archive and as a file of lines in order of arrival."""
    chance = random.Random(7)
    web: list[Record] = []
    for offset in range(300):
        lead = f"lead-{chance.randrange(12)}"
        at_ms = NOON_MS + offset * DAY_MS // 10
        web.append(
            event(offset, lead, at_ms=at_ms, data={"url": "/pricing", "page_type": "pricing", "session_id": str(offset)})
        )
    crm = [
        event(0, "lead-1", topic="lead.events.crm", at_ms=NOON_MS + 7, type="lead.identified", data={"anonymous_id": "lead-2"}),
        event(1, "lead-3", topic="lead.events.crm", at_ms=NOON_MS + 9 * DAY_MS + 5, type="crm.won", data={}),
    ]
    archive = folder / "archive"
    add_file(archive, web[:180])
    add_file(archive, web[100:])
    add_file(archive, crm)
    add_file(archive, [tick(0, 0, NOON_MS + 40 * DAY_MS, topic="leadpulse.default.internal")], "journal")
    add_file(archive, [event(0, "lead-1", topic="lead.sql", type="lead.erased", source="/leadpulse/default")], "output")
    lines = folder / "events.jsonl"
    records = sorted([*web, *crm], key=lambda one: one.timestamp_ms or 0)
    stamped = [{**json.loads(one.value or b""), "time": _time(one.timestamp_ms or 0)} for one in records]
    lines.write_text("\n".join(json.dumps(one) for one in stamped) + f'\n{{"tick": "{_time(NOON_MS + 40 * DAY_MS)}"}}\n')
    return archive, lines


def _time(at_ms: int) -> str:
    from worker.core.scoring.calendar import rfc3339

    return rfc3339(at_ms)


def test_an_archive_replays_as_its_events_do(tmp_path: Path) -> None:
    """Leads and outputs are those of the file of lines, byte for byte. Outputs in the archive count for nothing."""
    archive, lines = history(tmp_path)
    found = []
    for source in (archive, lines):
        out = tmp_path / f"{source.name}.leads", tmp_path / f"{source.name}.events"
        done = CliRunner().invoke(
            cli, ["replay", str(source), "--grid", "saas-b2b", "--leads", str(out[0]), "--events", str(out[1])]
        )
        assert done.exit_code == 0, done.output
        outputs = [json.loads(line) for line in out[1].read_text().splitlines()]
        for one in outputs:
            one["data"].pop("cause", None)  # the place of the record
        found.append((out[0].read_text(), outputs))
    assert found[0] == found[1]
    assert len(found[0][1]) > 3


def test_a_lead_is_explained_from_an_archive(tmp_path: Path) -> None:
    """By any id of the person, as the file of lines does."""
    archive, lines = history(tmp_path)
    said = []
    for source in (["--archive", str(archive)], ["--events", str(lines)]):
        done = CliRunner().invoke(cli, ["explain", "lead-2", "--grid", "saas-b2b", "--json", *source])
        assert done.exit_code == 0, done.output
        said.append(json.loads(done.stdout))
    assert said[0] == said[1]
    assert said[0]["lead_id"] == "lead-1"


def test_one_source_at_a_time(tmp_path: Path) -> None:
    """Files and an archive would be two pasts."""
    archive, lines = history(tmp_path)
    done = CliRunner().invoke(cli, ["explain", "x", "--archive", str(archive), "--events", str(lines)])
    assert done.exit_code == 2


@pytest.mark.parametrize(
    "command",
    [
        ["archive", "run", "--to", "{}"],
        ["archive", "check", "--to", "{}"],
        ["archive", "compact", "--to", "{}"],
        ["archive", "forget", "x", "--to", "{}"],
        ["replay", "{}", "--grid", "saas-b2b"],
        ["explain", "x", "--archive", "{}"],
    ],
)
def test_a_missing_extra_is_named(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with exit code 2."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "duckdb" else find(name, *more))
    done = CliRunner().invoke(cli, [one.format(tmp_path) for one in command])
    assert done.exit_code == 2
    assert "pip install 'leadpulse[archive]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    done = CliRunner().invoke(cli, ["replay", str(tmp_path / "no"), "--grid", "saas-b2b", "--leads", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()
