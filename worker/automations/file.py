"""The file of automations, read and checked whole: every mistake by line."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from worker.automations.check import Check
from worker.automations.models import Automations
from worker.automations.rules import Rules
from worker.automations.targets.common import Kind
from worker.automations.targets.registry import KINDS
from worker.automations.templates import Templates
from worker.connections.models import Connections
from worker.core.grid.messages import Mistake
from worker.core.grid.model_base import WrittenSchema
from worker.core.grid.yaml_model import read_model
from worker.errors import AutomationsError

_ROUND_ROBIN: Final = re.compile(rb"(:[ \t]+)(round-robin\(\[[^\]\"\n]*\]\))")
"""In `{else: round-robin([…])}`, YAML takes the bracket for a list. So it is put in quotes where it stands without."""


def read_rules(
    path: str,
    connections: Connections,
    *,
    documents: Path | None = None,
    kinds: Mapping[str, Kind] = KINDS,
    phases: Collection[str] | None = None,
) -> Rules:
    """Return the rules in the file at *path*, whose targets are those of *connections*.

    Files of templates are in the folder of the file, or in `templates` there. *documents* is the folder of documents.
    *phases* are those of the grid, so that others are mistakes. Raises `AutomationsError` with every mistake.
    """
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise AutomationsError(f"{path}: {error.strerror}: LEADPULSE_AUTOMATIONS names the file of automations") from error
    folder = Path(path).parent
    return parse_rules(source, path, connections, folder=folder, documents=documents, kinds=kinds, phases=phases)


def parse_rules(
    source: bytes,
    file: str,
    connections: Connections,
    *,
    folder: Path | None = None,
    documents: Path | None = None,
    kinds: Mapping[str, Kind] = KINDS,
    phases: Collection[str] | None = None,
) -> Rules:
    """Return the rules in *source*. *file* names it in mistakes, and *folder* has its templates. Raises `AutomationsError`."""
    links = connections.public_url is not None
    check = Check(connections.targets, kinds, Templates(folder), phases, links=links)
    quoted = _ROUND_ROBIN.sub(rb'\1"\2"', source)
    shape = "a mapping with `sync`, `owners`, `acts` and `nurture`"
    automations, _ = read_model(quoted, file, Automations, shape=shape, error=_error, across=check)
    by_target = {name: kinds[target.kind] for name, target in connections.targets.items() if target.kind in kinds}
    return Rules(automations, by_target, Templates(folder, automations.timezone), documents)


def automations_json(automations: Automations) -> dict[str, Any]:
    """Return the file as plain JSON, with every default filled in."""
    return automations.model_dump(mode="json", by_alias=True)


def _error(found: list[Mistake]) -> AutomationsError:
    return AutomationsError("\n".join(map(str, found)))


def automations_schema(kinds: Mapping[str, Kind] = KINDS) -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors of the YAML. Actions and their keys are those of all *kinds*."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema = Automations.model_json_schema(by_alias=True, schema_generator=WrittenSchema)
    models = [model for kind in kinds.values() for model in kind.fields.values()]
    keys = {(info.alias or name): info.description or "" for model in models for name, info in model.model_fields.items()}
    for name in ("ActRule", "Nurture", "Content"):
        properties = schema["$defs"][name]["properties"]
        properties["with"]["properties"] = {key: {"description": keys[key]} for key in sorted(keys)}
        if "do" in properties:
            properties["do"]["enum"] = sorted({do for kind in kinds.values() for do in kind.fields})
    return dialect | schema | {"title": "LeadPulse automations"}
