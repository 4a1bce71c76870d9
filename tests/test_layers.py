"""Who may import whom: data flows one way, and the folders show it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ops.dev.measures import imports

ROOT = Path(__file__).parents[1]
ROOMS = ("contract", "grid", "scoring", "identity", "batch", "insight")
"""Of the core: each imports only those before it."""

PROGRAMS = ("automations", "collector", "console", "demo", "history", "learning", "engine")
"""Programs know nothing of each other, but for the console and the demo, which show the others."""

SHOWS = {"console": {"automations", "history", "learning"}, "demo": {"engine"}, "learning": {"history"}}
"""Of programs: the others whose results they show or read."""

OUTSIDE = ("aiokafka", "redis", "faust")
HOSTS = ("worker/adapters/", "worker/faust_host.py", "worker/app.py", "worker/automations/app.py")


def modules() -> Iterator[tuple[str, list[str]]]:
    """Yield each module's path with what it imports: full names, and of a package its parts too."""
    for path in sorted((ROOT / "worker").rglob("*.py")):
        yield str(path.relative_to(ROOT)), list(imports(ast.parse(path.read_text())))


def test_the_core_imports_the_core_alone() -> None:
    """Nothing of ours outside of it, and no library of a broker, a store, a log or a clock."""
    banned = (*OUTSIDE, "logging", "asyncio", "os", "time", "click", "prometheus_client")
    for file, names in modules():
        if file.startswith("worker/core/"):
            ours = [name for name in names if name.startswith("worker") and not name.startswith("worker.core")]
            assert ours == [], file
            assert [name for name in names if name.split(".")[0] in banned] == [], file


def test_rooms_of_the_core_import_only_those_above() -> None:
    """Reading order is data order."""
    for file, names in modules():
        if file.startswith("worker/core/") and file != "worker/core/__init__.py":
            room = ROOMS.index(file.split("/")[2])
            used = {name.split(".")[2] for name in names if name.startswith("worker.core.")}
            assert [name for name in used if ROOMS.index(name) > room] == [], file


def test_brokers_and_stores_are_known_to_adapters_and_hosts_alone() -> None:
    """What is asked of them is in `worker/ports.py`."""
    found = {file for file, names in modules() if not file.startswith(HOSTS) and any(n.split(".")[0] in OUTSIDE for n in names)}
    assert found == set()


def test_folders_import_what_the_architecture_page_allows() -> None:
    """Its table is complete, and names nothing but parts of the worker."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = dict(re.findall(r"^\| `worker/(\w+)/` \| .* \| ([^|]*) \|$", page, re.MULTILINE))
    assert set(table) == {path.parent.name for path in (ROOT / "worker").glob("*/__init__.py")}
    for file, names in modules():
        folder = file.split("/")[1]
        if folder not in table or table[folder] == "everything":
            continue
        allowed = {folder} | set(re.findall(r"`(\w+)`", table[folder]))
        allowed |= set() if folder == "core" else {"core", "errors", "logs", "settings"}
        used = {name.split(".")[1] for name in names if name.startswith("worker.")}
        assert sorted(used - allowed) == [], file


def test_only_the_command_line_knows_click() -> None:
    """Reading and ending the process are two things."""
    found = {file for file, names in modules() if "click" in {name.split(".")[0] for name in names}}
    assert [file for file in sorted(found) if not file.startswith("worker/cli/")] == []


COMMANDS_MAY_CONNECT_BY = {"kafka_sink", "refusals", "sent_file"}
"""Adapters that a command hands to a program, and the words of errors."""


def test_commands_translate_and_leave_connections_to_the_programs() -> None:
    """Work that opens Kafka or Redis is in `queries` or in `engine/operations.py`, where other programs find it too."""
    for file, names in modules():
        if file.startswith("worker/cli/"):
            used = {name.split(".")[2] for name in names if name.startswith("worker.adapters.")}
            assert sorted(used - COMMANDS_MAY_CONNECT_BY) == [], file


def test_programs_do_not_import_each_other_or_the_command_line() -> None:
    """The console and the demo show the others; the command line starts them."""
    for file, names in modules():
        parts = file.split("/")
        if len(parts) < 3 or parts[1] not in PROGRAMS:
            continue
        others = {name.split(".")[1] for name in names if name.startswith("worker.") and name.count(".") >= 1}
        allowed = {parts[1]} | SHOWS.get(parts[1], set())
        assert sorted(others & ({*PROGRAMS, "cli"} - allowed)) == [], file
