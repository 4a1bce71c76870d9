"""Where tests and their helpers live: tests mirror `worker/`, and shared helpers are in `tests/kit`."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

from ops.dev.measures import functions_of, imports

ROOT = Path(__file__).parents[1]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
ALSO = {
    "benchmarks",
    "core.golden",
    "grids",
    "kit",
    "kit.vendors",
    "protocol",
    "schemas",
    "system",
    "system.alerts",
    "system.soak",
}
"""Folders that mirror no room of the worker: they test the whole, or what lies beside it."""


def test_no_test_imports_another_test() -> None:
    """What two of them need belongs in `tests/kit`: else a test cannot be moved, run alone or deleted."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in TESTS
        for name in imports(ast.parse(path.read_text()))
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    }
    assert found == set()


def test_helpers_hold_no_tests() -> None:
    """Pytest collects none from `tests/kit`, so one there would never run."""
    for path in TESTS:
        if "kit" in path.parts:
            assert not path.name.startswith("test_"), path
            assert not [f.name for f in functions_of(ast.parse(path.read_text())) if f.name.startswith("test_")], path


def test_folders_of_tests_are_those_of_the_worker() -> None:
    """The tests of a module are found by its folder."""
    folders = {".".join(path.parent.relative_to(ROOT / "tests").parts) for path in TESTS} - {""}
    rooms = {".".join(path.parent.relative_to(ROOT / "worker").parts) for path in (ROOT / "worker").rglob("*.py")}
    assert {folder for folder in folders if folder.removesuffix(".rivals") not in rooms | ALSO} == set()
    assert {path.stem for path in (ROOT / "tests" / "core").glob("test_*.py")} <= WHOLE


WHOLE = {
    "test_compiled", "test_golden", "test_oracle_score", "test_oracle_search", "test_oracle_stages", "test_oracle_words",
    "test_planted", "test_properties", "test_words",
}  # fmt: skip
"""Tests of the core as a whole. All others are in the folder of a room."""


def test_a_wheel_holds_every_file_that_the_code_reads() -> None:
    """A file whose suffix `package-data` does not name is there in a clone, and missing where the package is installed."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    others = [
        path
        for path in (ROOT / "worker").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".so") and not any(path.match(one) for one in patterns)
    ]
    assert others == []
