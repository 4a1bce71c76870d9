"""The models of the exactly-once protocol, searched whole by spin: they hold, and each known mistake breaks its model."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.services import missing
from tests.kit.waits import HANG_S

FOLDER = Path(__file__).parents[2] / "docs" / "protocol"
HARMLESS = {"NO_EPOCH_CHECK", "READY_BEFORE_FIRST_COMMIT"}
"""Left out, other checks still catch what goes wrong; the README says which."""
NOT_MISTAKES = {"EVENTS", "FAULTS", "WORKERS", "REDIS_KEEPS", "GROUP_KEEPS"} | HARMLESS
BESIDE = {"OFFSETS_OUTSIDE_TRANSACTION": "W_FROM_OFFSETS_ALONE"}
"""A mistake → another that it takes beside it. Alone, another witness makes up for it."""

MISTAKES = [
    (model, mistake)
    for model in ("partition", "strays", "topics")
    for mistake in sorted(
        set(re.findall(r"^#ifn?def ([A-Z_]+)", (FOLDER / f"{model}.pml").read_text(), re.MULTILINE)) - NOT_MISTAKES
    )
]


def searched(folder: Path, model: str, *defined: str, optimized: bool = True) -> str:
    """Search every state of the model and return what spin's verifier says; a search that was cut short is an error."""
    for tool, package in (("spin", "spin"), ("gcc", "gcc")):
        if shutil.which(tool) is None:
            missing(f"no `{tool}` on PATH (Debian: apt install {package})")
    run = {"cwd": folder, "capture_output": True, "text": True, "timeout": 10 * HANG_S}  # all of a core is work
    source = str(FOLDER / f"{model}.pml")
    made = subprocess.run(["spin", "-a", *(f"-D{name}" for name in defined), source], **run)  # type: ignore[call-overload]
    assert made.returncode == 0, made.stdout + made.stderr
    compiled = ["gcc", "-O2" if optimized else "-O0", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2000", "-o", "pan", "pan.c"]
    assert subprocess.run(compiled, **run).returncode == 0  # type: ignore[call-overload]
    said: str = subprocess.run(["./pan", "-m200000"], **run).stdout  # type: ignore[call-overload]
    assert "max search depth too small" not in said, said
    assert "memory limit" not in said, said
    return said


@pytest.mark.parametrize(
    ("model", "defined", "least"),
    [
        ("partition", (), 10_000_000),
        ("strays", (), 1_500_000),
        ("strays", ("WORKERS=2", "FAULTS=1"), 1_500_000),
        ("topics", (), 150_000),
    ],
    ids=["one partition", "strays", "strays and workers that compete", "topics that are not what they were"],
)
def test_nothing_is_lost_or_doubled_whatever_goes_wrong(
    model: str, defined: tuple[str, ...], least: int, tmp_path: Path
) -> None:
    """Faults of any kind at any step: crashes, zombies, lost replies, aborts, Redis going back. *least*: of states searched."""
    said = searched(tmp_path, model, *defined)
    assert "errors: 0" in said, said
    states = re.search(r"(\d+) states, stored", said)
    assert states is not None
    assert int(states[1]) > least, "the model was not searched as far as before"


@pytest.mark.parametrize(("model", "mistake"), MISTAKES)
def test_each_known_mistake_breaks_it(model: str, mistake: str, tmp_path: Path) -> None:
    """A model that nothing breaks proves nothing; the README tells each story and where the code guards against it."""
    beside = [BESIDE[mistake]] if mistake in BESIDE else []
    said = searched(tmp_path, model, mistake, *beside, optimized=False)
    assert "assertion violated" in said, said
    assert f"`{mistake}`" in (FOLDER / "README.md").read_text()
