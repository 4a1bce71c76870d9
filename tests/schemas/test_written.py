"""The JSON Schemas of files that people write: each default is a value that could be written there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from worker.automations.file import automations_schema
from worker.connections.file import connections_schema
from worker.core.grid.models import grid_schema


def defaults(node: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the schema of each key that has a default."""
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, part in parts:
        if isinstance(part, dict) and "default" in part and name != "properties":
            yield f"{path}.{name}", part
        if name not in ("default", "const", "enum", "examples"):
            yield from defaults(part, f"{path}.{name}")


@pytest.mark.parametrize(
    ("schema", "some"),
    [
        (grid_schema, {"$.properties.timezone": "UTC"}),
        (automations_schema, {"$.$defs.ActRule.properties.fresh": "24h", "$.$defs.ActRule.properties.max": "200/h"}),
        (connections_schema, {"$.$defs.HubSpot.properties.window": "5m", "$.$defs.Json.properties.erase": False}),
    ],
)
def test_each_default_fits_its_own_schema(schema: Callable[[], dict[str, Any]], some: dict[str, Any]) -> None:
    """An editor that fills a default in must not mark it as a mistake."""
    whole = schema()
    found = dict(defaults(whole))
    for path, part in found.items():
        validator = Draft202012Validator({"$defs": whole["$defs"], **part})
        assert [error.message for error in validator.iter_errors(part["default"])] == [], path
    assert {path: found[path]["default"] for path in some} == some
