"""CONTRIBUTING, SECURITY and the glossary: the files, targets and words that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/glossary.md",
    "docs/install.md",
    "docs/run.md",
    "docs/send.md",
    "docs/operate.md",
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
    assert [name for name in sorted(named - MADE_LATER) if not (ROOT / name).exists()] == []


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
