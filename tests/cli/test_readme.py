"""The commands of the README and the guides, run as a newcomer types them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.kit.services import free_port
from tests.kit.shell import ROOT, leadpulse
from worker.core.contract.partitioner import owner
from worker.metrics import Metrics
from worker.settings import Settings

README = (ROOT / "README.md").read_text()
OPERATE, SEND = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("operate", "send"))


def test_the_commands_over_files_work_as_printed(tmp_path: Path) -> None:
    """The first three commands that one tries; the lead that they explain must be one with something to explain."""
    done = None
    for name in ("simulate", "replay", "explain"):
        line = re.findall(rf"^leadpulse ({name} .*\.jsonl.*)$", README, re.MULTILINE)[0]
        done = leadpulse(*shlex.split(line), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert done is not None
    assert re.search(r"^ fit \S+ +\+\d", done.stdout, re.MULTILINE)
    assert re.search(r"^ rule \S+ +\+\d", done.stdout, re.MULTILINE)
    assert (tmp_path / "leads.jsonl").stat().st_size > 0
    assert (tmp_path / "outputs.jsonl").stat().st_size > 0


def test_the_commands_for_dead_letters_are_understood(tmp_path: Path) -> None:
    """As far as asking Kafka: wrong usage would be exit code 2, before that."""
    (tmp_path / "mended.json").write_text("{}")
    commands = re.findall(r"^leadpulse (dead .*)$", OPERATE, re.MULTILINE)
    assert {command.split()[1] for command in commands} == {"list", "show", "replay"}
    for command in commands:
        args = shlex.split(command, comments=True)
        done = leadpulse(*args, env={"LEADPULSE_KAFKA": f"127.0.0.1:{free_port()}"}, cwd=tmp_path)
        assert (done.returncode, "no Kafka broker answers" in done.stderr) == (1, True), done.stderr


def test_the_key_in_redis_is_that_of_the_lead_which_the_examples_send() -> None:
    """A key of another partition answers with nothing, and looks as if the worker had done nothing."""
    (partition, lead), *more = re.findall(r"\{default:(\d+)\}:lead:(\S+?)'", SEND)
    assert not more
    assert int(partition) == owner(lead, Settings.load({}).partitions)


def test_the_metric_named_is_one_of_the_worker() -> None:
    """Who looks for a typo in their events searches for this name."""
    (name,) = re.findall(r"`leadpulse_(\w+)_total`", SEND)
    assert name in {family.name.removeprefix("leadpulse_") for family in Metrics().unknown.describe()}


def test_the_readme_is_short() -> None:
    """A newcomer reads it whole; the guides have the rest."""
    assert len(README.split()) <= 700


def test_links_of_the_readme_lead_somewhere() -> None:
    """To files of this repository."""
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
