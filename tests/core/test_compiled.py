"""The compiled core gives the pure one's answers, byte for byte, and passes its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.dev.compiled import ROOT, compiled, copy
from ops.dev.services import ServiceMissing
from tests.kit.examples import TIMES
from tests.kit.services import missing

pytestmark = pytest.mark.timeout(1_200)  # a compiler is at work

TOLD = (
    "batch/test_plan", "contract/test_codec", "contract/test_hostile", "grid/test_conditions", "identity/test_accounts",
    "identity/test_erasure", "identity/test_identity", "identity/test_links", "identity/test_merge",
    "scoring/test_calendar", "scoring/test_limits", "scoring/test_once_per", "scoring/test_phases",
    "scoring/test_response_time", "scoring/test_traits", "test_golden", "test_oracle_score", "test_oracle_search",
    "test_oracle_stages", "test_properties", "test_words",
)  # fmt: skip
"""The others ask what is not compiled."""


@pytest.fixture(scope="module")
def home() -> Path:
    """The compiled program, with the tests of now."""
    try:
        folder = compiled()
    except ServiceMissing as error:
        missing(str(error))
    copy(("tests", "ops"), folder)
    return folder


def run(home: Path, *command: str) -> str:
    """Run Python in the folder *home*; return what it said."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # The rule itself is tried on the pure form: here a few examples are enough to meet every line of it.
    environ["EXAMPLES_TIMES"] = str(TIMES / 5)
    done = subprocess.run([sys.executable, *command], cwd=home, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    return done.stdout


def test_states_and_outputs_are_the_same_in_both_forms(home: Path) -> None:
    """A partition may go from a worker of one form to one of the other, and fold the same batch again."""
    pure, machine = (run(folder, "-m", "tests.kit.digest").split() for folder in (ROOT, home))
    assert [pure[0], machine[0]] == ["pure", "compiled"]
    assert pure[1:] == machine[1:]


def test_the_compiled_core_passes_the_tests_of_the_pure_one(home: Path) -> None:
    """Whatever mypyc understands otherwise than the interpreter shows here."""
    said = run(home, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/core/{name}.py" for name in TOLD))
    assert " passed" in said
