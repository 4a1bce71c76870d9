"""The guide's examples of connections are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.connections.file import connections_schema, parse_connections
from worker.connections.sources import VENDORS
from worker.intake.vendors.registry import MAPS

GUIDE = (Path(__file__).parents[2] / "docs" / "connect.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_valid(text: str) -> None:
    """With every key that it shows."""
    parse_connections(text.encode(), "connections.yaml")


def test_every_vendor_with_a_map_has_a_row() -> None:
    """What it sends us, how it is verified and what is untested."""
    rows = set(re.findall(r"^\| `(\w+)` \| .* \| .* \| .* \| .*\|$", GUIDE, re.MULTILINE))
    assert set(MAPS) <= rows <= set(VENDORS)


def test_each_key_of_each_target_stands_in_the_guide() -> None:
    """A newcomer finds what a target needs without a look at the schema, and no key that is not there."""
    models = connections_schema()["$defs"]
    needed = {
        model["properties"]["kind"]["const"]: set(model["properties"]) - {"kind", "insecure", "forget"}
        for name, model in models.items()
        if name.endswith("Target")
    }
    table = GUIDE.partition("## Targets\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `")]
    told = {kind: set(re.findall(r"`([a-z_]+)`", row[1] + row[2])) for row in rows for kind in re.findall(r"`(\w+)`", row[0])}
    assert told == needed
