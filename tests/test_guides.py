"""The guides: files, targets and words that they name exist, and every setting and command has its place in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ops.dev import map as code_map
from ops.dev.shape import replaced
from worker.adapters.kafka_topics import INBOUND_TOPICS
from worker.cli import COMMANDS, cli
from worker.core.contract import event_types, output_types
from worker.settings import PREFIX, PROGRAMS

ROOT = Path(__file__).parents[1]
PAGES = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/architecture.md",
    "docs/benchmarks.md",
    "docs/calibration.md",
    "docs/decisions.md",
    "docs/glossary.md",
    "docs/history.md",
    "docs/install.md",
    "docs/run.md",
    "docs/send.md",
    "docs/operate.md",
    "docs/protocol/README.md",
    "docs/reliability.md",
    "docs/security.md",
)
MADE_LATER = {"dist/", "worker/cli/NAME.py"}
"""What a page names and the repository does not hold."""

MAKE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z]+):", MAKE, re.MULTILINE))
WORDS = [
    "advance",
    "cut",
    "due",
    "fold",
    "grid",
    "horizon",
    "incarnation",
    "journal",
    "outbox",
    "owner",
    "rank",
    "refold",
    "rung",
    "stray",
    "tick",
    "trim",
]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    """A page that sends its reader nowhere is worse than none."""
    named = set(re.findall(r"`((?:worker|schemas|grids|ops|docs|tests)/[\w./-]*)`", (ROOT / page).read_text()))
    assert [name for name in sorted(named - MADE_LATER) if "NAME" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_make_targets_that_a_page_names_exist(page: str) -> None:
    """With a line each in `make help`."""
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named <= TARGETS
    assert [target for target in sorted(named - {"help"}) if f"make {target}" not in MAKE] == []


def test_the_glossary_defines_each_word_of_our_own_once() -> None:
    """In alphabetical order, with a file in which the word lives."""
    rows = re.findall(r"^\| (\w+) \|.*`([^`]+)` \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    words = [word for word, _ in rows]
    assert words == WORDS
    assert [word for word, file in rows if word not in (ROOT / file).read_text().lower()] == []


def test_decisions_are_numbered_dated_and_have_a_status() -> None:
    """Each number once; a decision that no longer holds names a decision that is there."""
    page = (ROOT / "docs" / "decisions.md").read_text()
    status = r"\d{4}-\d\d-\d\d, (?:accepted|superseded by (\d+))\.$"
    found = re.findall(rf"^### (\d+)\. .+\n\n{status}", page, re.MULTILINE)
    libraries = re.findall(r"^\| (\d+) \| \d{4}-\d\d-\d\d \|", page, re.MULTILINE)
    assert len(found) == page.count("\n### "), "a heading `### NUMBER. TITLE`, then a line `DATE, STATUS.`"
    numbers = [number for number, _ in found] + libraries
    assert len(numbers) == len(set(numbers))
    assert {successor for _, successor in found if successor} <= set(numbers)
    assert not re.search(r"^- ", page, re.MULTILINE), "a decision has a heading of its own"


def test_guards_and_tests_that_the_protocol_page_names_exist() -> None:
    """A guard that was renamed would send the reader of a known mistake nowhere."""
    worker = "".join(path.read_text() for kind in ("*.py", "*.lua") for path in (ROOT / "worker").rglob(kind))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    rows = re.findall(
        r"^\| `[A-Z_]+` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$",
        (ROOT / "docs" / "protocol" / "README.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 20
    for guard, tried in rows:
        assert [name for name in re.findall(r"`([A-Za-z_]+)`", guard) if not re.search(rf"\b{name}\b", worker)] == []
        assert [name for name in re.findall(r"`([a-z_]+)`", tried) if name not in tests] == []


@pytest.mark.parametrize("page", ["architecture", "decisions", "reliability", "protocol/README"])
def test_names_of_the_code_that_a_page_names_exist(page: str) -> None:
    """`module.name` is defined in that module, and a class of several words anywhere in the worker."""
    modules = {path.stem: path.read_text() for path in (ROOT / "worker").rglob("*.py")}
    text = (ROOT / "docs" / f"{page}.md").read_text()
    inputs, outputs = ({row.name for row in event_types.INPUTS}, {row.name for row in output_types.OUTPUTS})
    # `lead.sql` is no name of a module, and no more is `lead.inbound`.
    types = inputs | outputs | {output_types.DEAD_LETTERS, output_types.ACTED, *INBOUND_TOPICS}
    named = re.findall(r"`(?:worker\.[\w.]+\.)?(\w+)\.(\w+)`", text)
    dotted = [(module, name) for module, name in named if module in modules and f"{module}.{name}" not in types]
    assert [f"{m}.{n}" for m, n in dotted if n not in ("py", "lua", "pml") and not re.search(rf"\b{n}\b", modules[m])] == []
    classes = re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", text)
    assert [name for name in classes if not re.search(rf"\b{name}\b", "".join(modules.values()))] == []


def test_the_map_names_every_module_once_and_nothing_else() -> None:
    """By folder, with the first sentence of each; `make docs` writes it."""
    section = code_map.section_of((ROOT / "docs" / "architecture.md").read_text(), code_map.NAME)
    named: list[str] = []
    for folder, lines in re.findall(r"^### `([\w/]+/)`$(.*?)(?=^### |\Z)", section, re.MULTILINE | re.DOTALL):
        named += [folder + file for file in re.findall(r"^- `([\w.]+)`: \S", lines, re.MULTILINE)]
    there = [path for kind in ("*.py", "*.lua") for path in (ROOT / "worker").rglob(kind) if path.name != "__init__.py"]
    assert sorted(named) == sorted(str(path.relative_to(ROOT)) for path in there), "write it anew: make docs"
    assert section == code_map.written(), "write it anew: make docs"


def test_modules_follow_those_that_they_import() -> None:
    """Modules that import nothing of their folder come first; a circle does not hang the map."""
    assert list(code_map.in_reading_order({"a": frozenset("b"), "b": frozenset(), "c": frozenset("a")})) == ["b", "a", "c"]
    assert sorted(code_map.in_reading_order({"a": frozenset("b"), "b": frozenset("a")})) == ["a", "b"]


def test_a_column_of_figures_is_replaced_and_the_others_stay() -> None:
    """By the label of each row; a row without a new figure keeps its own."""
    table = "|  | before | now |\n|---|---|---|\n| modules | 1 | 2 |\n| words | 3 | 4 |"
    assert replaced(table, "now", {"modules": "9"}) == table.replace("| 2 |", "| 9 |")


def _rows_of_settings() -> Iterator[str]:
    """Yield each variable that begins a row of the guides' tables, `_USER` for `LEADPULSE_KAFKA_USER`."""
    for page in ("docs/run.md", "docs/security.md"):
        for row in re.findall(r"^\| (`_?LEADPULSE_[^|]*)\|", (ROOT / page).read_text(), re.MULTILINE):
            for name in re.findall(r"`(\w+)", row):
                yield f"{PREFIX}KAFKA{name}" if name.startswith("_") else name


def test_every_setting_has_its_row_in_a_guide() -> None:
    """A setting that is not in a guide is found by reading code only; a row without a setting has no effect."""
    assert set(_rows_of_settings()) == {PREFIX + name.upper() for program in PROGRAMS for name in program.model_fields}


def _commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command by its words, those of groups too."""
    for name, entry in COMMANDS.items():
        command = getattr(import_module(entry.module), entry.attribute)
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", one) for sub, one in command.commands.items())


COMMANDS_BY_WORDS = dict(_commands())


@pytest.mark.parametrize("words", COMMANDS_BY_WORDS)
def test_every_command_is_in_a_guide(words: str) -> None:
    """With an occasion on which to use it."""
    guides = [ROOT / "README.md", ROOT / "ops" / "runbook.md", *sorted((ROOT / "docs").glob("*.md"))]
    named = [guide.name for guide in guides if re.search(rf"leadpulse {words}\b", guide.read_text())]
    assert named, f"name `leadpulse {words}` in a page of docs/, with an occasion to use it"


@pytest.mark.parametrize("words", COMMANDS_BY_WORDS)
def test_every_command_and_option_has_its_help(words: str) -> None:
    """`leadpulse --help` lists a command by the first sentence of its own help."""
    command = COMMANDS_BY_WORDS[words]
    first = " ".join((command.help or "").split("\n\n")[0].split())
    assert first.endswith(".")
    assert words not in COMMANDS or COMMANDS[words].help == first
    for option in command.params:
        assert isinstance(option, click.Argument) or getattr(option, "help", None), option.name


def test_the_list_of_commands_is_complete() -> None:
    """Every module with a command is offered, in `leadpulse --help`, too. A group's own commands are in `GROUP_COMMAND.py`."""
    modules = {
        path.stem
        for path in (ROOT / "worker" / "cli").glob("*.py")
        if re.search(r"^@click\.(command|group)", path.read_text(), re.MULTILINE)
    }
    of_groups = {name for name in modules if name.partition("_")[0] in modules - {name}}
    assert modules - of_groups - {"__init__"} == {entry.module.removeprefix("worker.cli.") for entry in COMMANDS.values()}
    shown = CliRunner().invoke(cli, ["--help"]).output.split("Commands:")[1]
    assert set(re.findall(r"^  (\w+)  ", shown, re.MULTILINE)) == {*COMMANDS, "version"}
