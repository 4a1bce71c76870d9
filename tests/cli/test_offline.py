"""Commands that need no server."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.kit.grids import changed
from tests.kit.shell import GRID, ROOT, a_file, environment, event, leadpulse
from worker.cli import COMMANDS, cli
from worker.settings import Settings


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Write the grid of these tests."""
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def test_the_list_of_commands_says_what_each_command_says_of_itself() -> None:
    """The list is written by hand so that showing it imports nothing; it must not drift from the commands' own help."""
    context = click.Context(cli)
    for name, entry in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert (command.help or "").partition("\n")[0] == entry.help, name


def test_no_help_shows_the_marks_of_its_layout() -> None:
    """A raw docstring hides click's mark for lines that stay as they are: it is printed, and the lines run together."""

    def helps(command: click.Command, context: click.Context) -> Iterator[str]:
        yield command.get_help(context)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from helps(inner, click.Context(inner, parent=context))

    assert [text for text in helps(cli, click.Context(cli)) if "\\b" in text] == []


def test_help_imports_no_heavy_library() -> None:
    """`leadpulse --help` answers at once: Faust, pydantic and the clients load with the command that needs them."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "worker.cli", "--help"], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"faust", "pydantic", "aiokafka", "redis", "rich", "msgspec"}


def test_every_setting_is_a_flag_of_run_with_its_variable() -> None:
    """Settings are told by the environment or by flags; the help lists both, from the one model."""
    said = " ".join(leadpulse("run", "--help").stdout.split())
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in said
        assert f"LEADPULSE_{name.upper()}" in said.replace(" ", "")


def test_the_version_is_that_of_the_package() -> None:
    """What `doctor` and bug reports name."""
    assert leadpulse("version").stdout.strip()
    assert leadpulse("--version").stdout == leadpulse("version").stdout


def test_a_full_disk_is_one_line_and_exit_code_1() -> None:
    """It happens in the middle of a long run, where a traceback says little."""
    done = leadpulse("simulate", "--events", "500", "--out", "/dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: /dev/full: No space left on device")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "--partitions", "none"], "LEADPULSE_PARTITIONS"),
        (["top", "--redis", "http://user:secret@host"], "LEADPULSE_REDIS"),
        (["replay"], "Missing argument"),
        (["replay", "absent.jsonl", "--grid", "saas-b2b"], "absent.jsonl"),
        (["replay", "-", "--grid", "saas-b2b", "--at", "yesterday"], "2026-03-05T12:00:00Z"),
        (["replay", "-", "-", "--grid", "saas-b2b"], "stdin"),
        (["replay", "-", "--grid", "saas-b2b", "--leads", "-", "--events", "-"], "another file"),
        (["rebuild"], "--partition"),
        (["rebuild", "--partition", "8"], "LEADPULSE_PARTITIONS is 8"),
        (["demo", "--for", "soon"], "30s"),
        (["explain", "ann", "--events", __file__, "--plot", "ann.pdf"], ".svg or .png"),
        (["explain"], "name one lead"),
        (["explain", "ann", "--mark", "0123"], "name one lead"),
        (["explain", "--mark", "0123", "--events", __file__], "name one lead"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_told_in_words_with_exit_code_2(args: list[str], words: str) -> None:
    """A script tells a wrong call from a failure by the code; a person reads what is expected, and no secret."""
    done = leadpulse(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["top", "--redis", "redis://user:secret@localhost:1"],
        ["explain", "ann", "--redis", "redis://user:secret@localhost:1"],
        ["rebuild", "--all", "--redis", "redis://user:secret@localhost:1"],
        ["topics", "create", "--kafka", "localhost:1"],
    ],
)
def test_a_server_that_does_not_answer_is_one_line_and_exit_code_1(args: list[str]) -> None:
    """No traceback, no log of the client library, no password: what failed, and where."""
    done = leadpulse(*args)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: ")
    assert "localhost" in done.stderr
    assert "secret" not in done.stderr


def test_the_doctor_finds_everything_that_is_wrong_at_once_and_what_to_do() -> None:
    """One run, not one fault a run; the password of an address never shows."""
    env = {"LEADPULSE_GIRD": "saas-b2b"}
    flags = ["--grid", "absent.yaml", "--kafka", "localhost:1", "--redis", "redis://user:secret@localhost:1"]
    done = leadpulse("doctor", "--json", *flags, env=env)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert {one["area"] for one in findings if one["level"] == "error"} == {"grid", "kafka", "redis"}
    assert all(one["what_to_do"] for one in findings if one["level"] == "error")
    assert [one["what_to_do"] for one in findings if one["area"] == "settings"] == ["did you mean LEADPULSE_GRID?"]
    assert "saas-b2b" in next(one["what"] for one in findings if one["area"] == "grid")
    assert "secret" not in done.stdout + done.stderr


def test_replay_writes_leads_by_id_and_events_in_order_and_names_the_bad_line(tmp_path: Path, grid: Path) -> None:
    """JSON in the files, nothing on stdout, words on stderr: the bad line by file and number, then the sums."""
    done = leadpulse("replay", a_file(tmp_path), "-g", grid, "--leads", tmp_path / "leads", "--events", tmp_path / "events")
    assert done.returncode == 0
    assert done.stdout == ""
    bad, summary = done.stderr.splitlines()
    assert bad.startswith(f"{tmp_path}/events.jsonl:8: not_json: ")
    assert "8 events, 2 leads, 2 output events; 1 bad line;" in summary
    leads = [json.loads(line) for line in (tmp_path / "leads").read_text().splitlines()]
    assert [(one["lead_id"], one["stage"]) for one in leads] == [("ann", "sql"), ("bob", "contact")]
    assert {one["as_of"] for one in leads} == {"2026-03-02T11:00:00.000Z"}
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [(one["type"], one["id"]) for one in events] == [("lead.mql", "ann:1"), ("lead.sql", "ann:2")]


def test_replay_reads_stdin_and_gzip_and_gives_the_leads_on_stdout(tmp_path: Path, grid: Path) -> None:
    """`zcat`, pipes and compressed exports give what the plain file gives."""
    plain = a_file(tmp_path)
    packed = tmp_path / "events.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    expected = leadpulse("replay", plain, "-g", grid).stdout
    assert len(expected.splitlines()) == 2
    assert leadpulse("replay", packed, "-g", grid).stdout == expected
    assert leadpulse("replay", "-", env={"LEADPULSE_GRID": str(grid)}, text=plain.read_text()).stdout == expected


def test_a_byte_order_mark_loses_no_line(tmp_path: Path, grid: Path) -> None:
    """Windows' editors write one; the first event counts all the same, gzipped or not."""
    plain = a_file(tmp_path)
    expected = leadpulse("replay", plain, "-g", grid).stdout
    for content in (b"\xef\xbb\xbf" + plain.read_bytes(), gzip.compress(b"\xef\xbb\xbf" + plain.read_bytes())):
        (tmp_path / "marked.jsonl").write_bytes(content)
        done = leadpulse("replay", tmp_path / "marked.jsonl", "-g", grid)
        assert done.stdout == expected
        assert "1 bad line;" in done.stderr, "the one that is bad in the plain file, too"


def test_a_line_is_a_tick_by_its_only_member(tmp_path: Path, grid: Path) -> None:
    """An event whose first member is `ticketid` or `tick` counts, as it does live. A tick may have blanks anywhere."""
    lines = [
        '{"ticketid": 7, ' + event(1, "page.viewed", "ann", "2026-03-02T10:00:00Z", url="/")[1:],
        '{"tick": "x", ' + event(2, "page.viewed", "bob", "2026-03-02T10:00:00Z", url="/")[1:],
        ' { "tick" : "2026-03-03T10:00:00Z" } ',
        '{"tick": 5}',
        '{"tick": null}',
        '{"tick": "2026-03-04T10:00:00Z", "by": "me"}',
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    done = leadpulse("replay", tmp_path / "events.jsonl", "-g", grid)
    assert [json.loads(line)["lead_id"] for line in done.stdout.splitlines()] == ["ann", "bob"]
    assert [line.split(":", 1)[1].split(":")[:2] for line in done.stderr.splitlines()[:-1]] == [
        ["4", " bad_tick"], ["5", " bad_tick"], ["6", " bad_envelope"],
    ]  # fmt: skip
    assert "2 events, 2 leads" in done.stderr
    assert "1 tick;" in done.stderr


def test_a_replay_into_the_future_names_the_line_that_leads_there(tmp_path: Path, grid: Path) -> None:
    """One date in 2099 ends the replay there, and every score has decayed to nothing."""
    lines = [event(1, "page.viewed", "ann", "2026-03-02T10:00:00Z", url="/pricing")]
    lines.append(event(2, "page.viewed", "bob", "2099-03-02T10:00:00Z", url="/pricing"))
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    done = leadpulse("replay", tmp_path / "events.jsonl", "-g", grid)
    assert f"warning: {tmp_path}/events.jsonl:2: 2099-03-02T10:00:00.000Z lies in the future" in done.stderr
    assert "--at" in done.stderr
    ended = leadpulse("replay", tmp_path / "events.jsonl", "-g", grid, "--at", "2026-03-02T11:00:00Z")
    assert "warning" not in ended.stderr


def test_strict_replay_stops_at_the_bad_line(tmp_path: Path, grid: Path) -> None:
    """In a pipeline a broken export must fail, by name."""
    done = leadpulse("replay", a_file(tmp_path), "-g", grid, "--strict")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"Error: {tmp_path}/events.jsonl:8: ")
    assert len(done.stderr.splitlines()) == 1


def test_replay_of_no_events_says_how_to_make_some(tmp_path: Path, grid: Path) -> None:
    """A table or a log that was meant to be converted first."""
    (tmp_path / "crm.csv").write_text("E-mail;Fonction\na@x.example;CTO\n")
    done = leadpulse("replay", tmp_path / "crm.csv", "-g", grid)
    assert "warning: no line is an event; `leadpulse convert`" in done.stderr


def test_replay_ends_at_the_instant_asked_for(tmp_path: Path, grid: Path) -> None:
    """Time alone cools a lead: the same file judged two months later."""
    done = leadpulse("replay", a_file(tmp_path), "-g", grid, "--at", "2026-05-01T00:00:00Z", "--events", "-")
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == [
        "lead.mql", "lead.sql", "lead.sla_breached", "lead.cooled", "lead.cooled",
    ]  # fmt: skip


def test_replay_overwrites_none_of_its_inputs(tmp_path: Path, grid: Path) -> None:
    """A slip of the hand must not cost the history."""
    path = a_file(tmp_path)
    before = path.read_bytes()
    assert leadpulse("replay", path, "-g", grid, "--leads", path).returncode == 2
    assert path.read_bytes() == before


def test_an_unknown_grid_is_told_with_those_that_come_along(tmp_path: Path) -> None:
    """The next thing one needs to know is what there is."""
    done = leadpulse("replay", a_file(tmp_path), "--grid", "saas")
    assert done.returncode == 1
    assert "saas-b2b" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_mistakes_in_a_grid_are_told_by_line(tmp_path: Path, grid: Path) -> None:
    """All of them, each with its place."""
    grid.write_text(changed(GRID, {"fit.rules.business-email.points": "many", "engagement.half_life": "soon"}))
    done = leadpulse("replay", a_file(tmp_path), "-g", grid)
    assert done.returncode == 1
    assert f"{grid}:6: " in done.stderr
    assert f"{grid}:10: " in done.stderr


def test_the_demo_says_which_package_it_lacks(tmp_path: Path) -> None:
    """The plain package comes without broker and server; one line says how to get them."""
    (tmp_path / "confluent_kafka.py").write_text("raise ImportError")
    done = leadpulse("demo", env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert done.returncode == 1
    assert "pip install 'leadpulse[demo]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_causes_no_traceback(tmp_path: Path, grid: Path) -> None:
    """`leadpulse replay … | head -1` ends quietly."""
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(event(i, "page.viewed", f"lead-{i}", "2026-03-02T10:00:00Z", url="/") for i in range(20_000)))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m worker.cli replay {path} -g {grid} | head -1"],
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
