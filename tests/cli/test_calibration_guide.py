"""`docs/calibration.md`: its commands run as printed, on the file that it names, and its figures are theirs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from tests.kit.shell import ROOT
from worker.cli import cli

GUIDE = (ROOT / "docs" / "calibration.md").read_text()
COMMANDS = [
    line.removeprefix("leadpulse ")
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("leadpulse ")
]


def run(command: str) -> Result:
    """Run a command of the guide."""
    return CliRunner().invoke(cli, shlex.split(command), catch_exceptions=False)


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Work in a folder with the example."""
    made = tmp_path_factory.mktemp("calibration")
    shutil.copy(ROOT / "docs" / "examples" / "leads.csv", made)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        yield


def test_the_commands_work_as_printed_one_after_the_other() -> None:
    """Each ends well; the grids that they propose pass the check."""
    assert len(COMMANDS) == 14
    for command in COMMANDS:
        done = run(command)
        assert done.exit_code == 0, f"{command}: {done.output}"
    for proposal in ("first", "second", "by-capacity", "by-rate", "by-money"):
        assert run(f"grid check {proposal}/proposed.yaml").exit_code == 0, proposal


def test_the_figures_are_those_of_the_example() -> None:
    """Rates, ranges, words and points of the table, and the column that is refused."""
    assert run(COMMANDS[0]).exit_code == 0
    given = json.loads(run("learn rates leads.parquet --json").output)["attributes"]
    found = {f"{line['field']}: {line['name']}": line for line in given}
    rows = re.findall(
        r"^\| ([\w :-]+: [\w-]+) \| (\d+) of (\d+) \| (\d+) % to (\d+) % \| ×(\S+) \| (\w+) \| (\S+) \|$", GUIDE, re.MULTILINE
    )
    assert len(rows) == 5
    for name, won, leads, low, high, times, word, points in rows:
        line = found[name]
        assert (int(won), int(leads), word) == (line["won"], line["n"], line["word"])
        assert [int(low), int(high)] == [round(100 * bound) for bound in line["likely"]]
        assert float(times) == round(line["times"], 1)
        assert float(points.replace("−", "-")) == line["proposed"]
    refused = run(COMMANDS[1].replace('--drop "Contract ends" ', ""))
    assert refused.exit_code == 1
    (quoted,) = re.findall(r"^> (.*)$", GUIDE, re.MULTILINE)
    assert quoted in refused.output
