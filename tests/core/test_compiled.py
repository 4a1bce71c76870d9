"""The compiled core gives the pure one's answers, byte for byte, and passes its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.dev.compiled import ROOT, compiled, copy
from ops.dev.services import ServiceMissing
from tests.examples import TIMES
from tests.services import missing

pytestmark = pytest.mark.timeout(1_200)  # a compiler is at work

TOLD = (
    "batches", "codec", "days", "erasure", "golden", "hostile", "identity", "kinship", "limits", "merge", "oracle",
    "properties", "seen", "ties", "traits", "where",
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
    pure, machine = (run(folder, "-m", "tests.core.digest").split() for folder in (ROOT, home))
    assert [pure[0], machine[0]] == ["pure", "compiled"]
    assert pure[1:] == machine[1:]


def test_the_compiled_core_passes_the_tests_of_the_pure_one(home: Path) -> None:
    """Whatever mypyc understands otherwise than the interpreter shows here."""
    said = run(home, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/core/test_{name}.py" for name in TOLD))
    assert " passed" in said
