"""`leadpulse act check|show|schema|preview` as a process."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.examples import output_example
from tests.kit.shell import leadpulse

CONNECTIONS = """
targets:
  crm:  {kind: hubspot, token: "${HUBSPOT_TOKEN}"}
  hook: {kind: webhook, url: "https://hooks.example.com/lp", secret: "${HOOK_OUT}"}
"""
AUTOMATIONS = """
acts:
  - {id: call, on: lead.sql, to: crm, do: task, with: {subject: "Call {{ lead_id }}", body: "{{ dossier }}"}}
  - {id: tell, on: [lead.sql, lead.mql], to: hook, do: send}
"""


def files(folder: Path, automations: str = AUTOMATIONS) -> Path:
    """Write both files and some outputs, one of which is none."""
    (folder / "connections.yaml").write_text(CONNECTIONS)
    (folder / "automations.yaml").write_text(automations)
    outputs = [json.dumps(output_example(name)) for name in ("lead.mql", "lead.sql")]
    (folder / "outputs.jsonl").write_text("\n".join([*outputs, "", "{broken"]) + "\n")
    return folder


def test_a_sound_file_passes_and_a_mistake_is_named(tmp_path: Path) -> None:
    """By its line, with exit code 1."""
    sound = leadpulse("act", "check", cwd=files(tmp_path))
    assert (sound.returncode, sound.stdout) == (0, "")
    assert "automations.yaml: 0 states in sync, 2 acts, 0 nurturing rules: no mistake" in sound.stderr
    bad = leadpulse("act", "check", cwd=files(tmp_path, AUTOMATIONS.replace("to: crm", "to: cmr")))
    assert bad.returncode == 1
    assert "automations.yaml:3: acts[0].to: the file of connections has no target 'cmr', did you mean 'crm'?" in bad.stderr


def test_a_missing_file_of_connections_is_named(tmp_path: Path) -> None:
    """Targets stand there."""
    files(tmp_path)
    (tmp_path / "connections.yaml").unlink()
    answer = leadpulse("act", "check", cwd=tmp_path)
    assert answer.returncode == 1
    assert "connections.yaml" in answer.stderr
    assert "LEADPULSE_CONNECTIONS" in answer.stderr


def test_phases_are_checked_with_the_grid(tmp_path: Path) -> None:
    """A phase that the grid does not have is never entered."""
    text = "nurture:\n  - {id: n, phase: considration, every: 4d, to: hook, do: send, contents: [{id: a}]}\n"
    files(tmp_path, text)
    assert leadpulse("act", "check", cwd=tmp_path).returncode == 0
    answer = leadpulse("act", "check", "--grid", "article-75", cwd=tmp_path)
    assert answer.returncode == 1
    assert "automations.yaml:2: nurture[0].phase: the grid has no phase 'considration', did you mean 'consideration'?" in (
        answer.stderr
    )
    assert (
        "the grid has no phase 'considration'; it has none"
        in leadpulse("act", "check", "--grid", "pivot-15", cwd=tmp_path).stderr
    )


def test_a_flag_of_the_program_before_a_command_is_refused(tmp_path: Path) -> None:
    """It would have no effect."""
    answer = leadpulse("act", "--connections", "other.yaml", "check", cwd=files(tmp_path))
    assert answer.returncode == 2
    assert "--connections has no effect before `check`: write it behind the command" in answer.stderr


def test_the_file_is_shown_as_json(tmp_path: Path) -> None:
    """With defaults."""
    answer = leadpulse("act", "show", cwd=files(tmp_path))
    call, tell = json.loads(answer.stdout)["acts"]
    assert (call["fresh"], tell["on"]) == ("1d", ["lead.sql", "lead.mql"])


def test_the_schema_is_json() -> None:
    """For editors."""
    schema = json.loads(leadpulse("act", "schema").stdout)
    assert set(schema["properties"]) == {"timezone", "sync", "owners", "acts", "nurture"}


def test_the_preview_of_events_that_come_in_is_no_silence(tmp_path: Path) -> None:
    """They stand in the file that `replay` reads, beside the one that it writes."""
    (files(tmp_path) / "events.jsonl").write_text(json.dumps(output_example("lead.mql") | {"type": "page.viewed"}) + "\n")
    answer = leadpulse("act", "preview", "events.jsonl", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "events.jsonl:1: no published event: page.viewed is no type of outputs" in answer.stderr


def test_the_preview_prints_a_line_for_each_request(tmp_path: Path) -> None:
    """In the order of the outputs. A line that is none is named, and the rest goes on."""
    answer = leadpulse("act", "preview", "outputs.jsonl", cwd=files(tmp_path))
    assert answer.returncode == 1
    assert "outputs.jsonl:4: no published event: " in answer.stderr
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [(line["rule"], line["method"]) for line in lines][:1] == [("tell", "POST")]
    assert lines[0]["body"] == output_example("lead.mql")
    task = next(line for line in lines if line["rule"] == "call" and line["url"].endswith("/tasks"))
    assert task["body"]["properties"]["hs_task_subject"] == "Call lead-48213"
    assert "<secret>" in task["headers"]["Authorization"]
