"""The guide's examples of connections are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.connections.file import parse_connections
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
