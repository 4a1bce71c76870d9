"""The alerts: each fires and is silent where it should, says what to do, and has its chapter in the runbook."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import InvalidSessionTimeoutError
from ruamel.yaml import YAML

from ops.dev.services import REPOSITORY
from tests.kit.services import missing
from tests.kit.waits import HANG_S
from worker.adapters.kafka_clients import in_words, not_allowed
from worker.adapters.kafka_login import TokenFailed
from worker.adapters.redis_client import WHAT_TO_DO
from worker.core.contract.journal import JournalError
from worker.core.scoring.state import UnreadableState
from worker.errors import KafkaRefused, StoreRefused, StoreUnavailable, WorkerMustStop

PROMETHEUS = REPOSITORY / "ops/prometheus"
RULES_FILE = PROMETHEUS / "rules/leadpulse.yml"
RUNBOOK = (REPOSITORY / "ops/runbook.md").read_text()
RULES: dict[str, Any] = YAML(typ="safe").load(RULES_FILE)
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule
}
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def _promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Prometheus' own checker, or skip the test where there is none."""
    program = shutil.which("promtool")
    if program is None:
        missing("promtool: not on PATH (Debian: apt install prometheus)")
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False, timeout=HANG_S)


def test_prometheus_reads_its_configuration_and_the_rules() -> None:
    """The file that compose mounts, with everything that it names."""
    done = _promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"rule file.*\n.*SUCCESS: \d+ rules found", done.stdout + done.stderr) or "SUCCESS" in done.stdout
    assert RULES_FILE.name in done.stdout, "the configuration does not name the rules"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire_when_they_should_and_are_silent_when_it_is_close(path: Path) -> None:
    """Figures made up for each."""
    done = _promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def _cases(kind: str) -> dict[str, dict[str, Any]]:
    """Return the tests by name, of all files, that say that an alert *kind* (`fires`, `is silent`)."""
    found: dict[str, dict[str, Any]] = {}
    for path in TESTS:
        for case in YAML(typ="safe").load(path)["tests"]:
            assert case["name"] not in found, case["name"]
            found[case["name"]] = case
    return {name: case for name, case in found.items() if re.match(rf"\w+ {kind}: ", name)}


@pytest.mark.parametrize("kind", ["fires", "is silent"])
def test_every_alert_is_tried_both_ways(kind: str) -> None:
    """One that was never seen firing may be misspelt; one that was never seen silent may wake somebody every night."""
    tried = set()
    for name, case in _cases(kind).items():
        (asked,) = case["promql_expr_test"]
        alert = name.split()[0]
        assert f'alertname="{alert}"' in asked["expr"], name
        assert bool(asked["exp_samples"]) == (kind == "fires"), name
        tried.add(alert)
    assert tried == set(ALERTS)


@pytest.mark.parametrize(("kind", "instead"), [("fires", "vector(0) > 1"), ("is silent", "vector(1)")])
def test_the_tests_of_the_alerts_can_fail(kind: str, instead: str, tmp_path: Path) -> None:
    """With rules that never fire, or always, every one of them is red."""
    rules = [{"alert": name, "expr": instead, "labels": rule["labels"]} for name, rule in ALERTS.items()]
    yaml = YAML(typ="safe")
    yaml.dump({"groups": [{"name": "broken", "rules": rules}]}, tmp_path / "rules.yml")
    cases = list(_cases(kind).values())
    yaml.dump(
        {"rule_files": ["rules.yml"], "evaluation_interval": "4m", "tests": cases},
        tmp_path / "tests.yml",
    )
    done = _promtool("test", "rules", tmp_path / "tests.yml")
    said = done.stdout + done.stderr
    red = re.findall(r'alertname=\\"(\w+)\\", alertstate=\\"firing\\"}", time', said)
    assert sorted(red) == sorted(case["name"].split()[0] for case in cases), said


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_about_and_what_to_do(name: str) -> None:
    """It is read on a telephone at night."""
    rule = ALERTS[name]
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    told = rule["annotations"]
    assert set(told) == {"summary", "description", "runbook_url"}
    assert len(told["summary"]) <= 130
    assert told["description"].count(".") >= 2, "what it means, and what to do first"
    assert told["runbook_url"] == f"ops/runbook.md#{name.lower()}"


def test_every_alert_has_its_chapter_in_the_runbook_and_every_chapter_its_alert() -> None:
    """A link that leads nowhere at three in the morning; a chapter that nobody is ever sent to."""
    chapters = re.findall(r"^### (LeadPulse\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(chapters) == sorted(ALERTS)


def test_rules_ask_only_for_figures_that_are_recorded() -> None:
    """The metrics themselves are compared with the code's by another test."""
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    asked = set(re.findall(r"\b\w+:leadpulse_\w+:\w+", RULES_FILE.read_text()))
    assert asked == recorded


ERRORS = (WorkerMustStop, KafkaRefused, TokenFailed, JournalError, UnreadableState, StoreRefused)
MESSAGES = {*(error.__name__ for error in ERRORS), "fail"}
"""Calls whose first argument is a message that a worker may end with."""

SPOKEN_ELSEWHERE = {"repartition.py", "memory.py"}
"""What is raised there ends a command, with its words on the terminal, or is another store's: no worker stops for it."""

PASSED_ON = {"…", "…: …", "…: …; …", "…: ……", "lead with mark …: …", "None"}
"""Others' words, which are there themselves."""


def _words(node: ast.expr) -> str:
    """Return the text that *node* makes, with `…` for what differs."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(_words(part) for part in node.values)
        case ast.BinOp():
            return _words(node.left) + _words(node.right)
        case _:
            return "…"


def _refusals() -> dict[str, str]:
    """Return every message that a worker may end with, by place."""
    found: dict[str, str] = {}
    for path in sorted((REPOSITORY / "worker").rglob("*.py")):
        if path.name in SPOKEN_ELSEWHERE or path.parent.name == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in MESSAGES:
                found[f"{path.name}:{node.lineno}"] = _words(node.args[0])
    found |= {f"redis_client.py {code}": words for code, words in WHAT_TO_DO.items() if code != "HELD"}
    found |= {"errors.py StoreUnavailable": StoreUnavailable("…").line()}
    found |= {"kafka_clients.py in_words": in_words(InvalidSessionTimeoutError())}
    found |= {"kafka_clients.py not_allowed": not_allowed("…")}
    return {place: said for place, said in found.items() if said not in PASSED_ON}


def _phrases() -> list[str]:
    """Return the words by which the runbook's chapter on refusals finds them."""
    chapter = RUNBOOK.partition("\n## When a worker stops\n")[2].partition("\n## ")[0]
    tables, _, rest = chapter.partition("### Faults of the program")
    faults = rest.partition(": report")[0]
    return re.findall(r"^\| `(.+?)` \|", tables, re.MULTILINE) + re.findall(r"`([^`]* [^`]*)`", faults)


def test_the_runbook_knows_everything_that_a_worker_stops_for_and_nothing_else() -> None:
    """The line in the log is all that somebody has at night; it must lead to a row."""
    refusals, phrases = _refusals(), _phrases()
    found = {phrase: re.compile(".*".join(map(re.escape, phrase.split("…"))), re.DOTALL) for phrase in phrases}
    assert len(refusals) > 40
    unknown = [f"{place}: {said}" for place, said in refusals.items() if not any(one.search(said) for one in found.values())]
    assert not unknown, "\n".join(unknown)
    idle = [phrase for phrase, one in found.items() if not any(one.search(said) for said in refusals.values())]
    assert not idle, idle
