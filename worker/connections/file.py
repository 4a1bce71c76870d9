"""The file of connections, read and checked whole: every mistake by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError

from worker.connections.models import Connections
from worker.connections.secret import secret_in
from worker.connections.sources import VENDORS
from worker.connections.targets import KINDS
from worker.core.grid.messages import Mistake, told
from worker.core.grid.model_base import WrittenSchema
from worker.core.grid.values import did_you_mean
from worker.core.grid.yaml_lines import Path
from worker.core.grid.yaml_model import read_model
from worker.errors import ConnectionsError


def read_connections(path: str, environment: Mapping[str, str] | None = None) -> Connections:
    """Return the connections in the file at *path*; with *environment*, every secret must be there too.

    Raises `ConnectionsError`.
    """
    try:
        text = FilePath(path).read_bytes()
    except OSError as error:
        raise ConnectionsError(f"{path}: {error.strerror}: LEADPULSE_CONNECTIONS names the file of connections") from error
    return _parsed(text, path, environment)


def parse_connections(text: bytes, file: str) -> Connections:
    """Return the connections in *text*; *file* names it in mistakes. Raises `ConnectionsError` with every mistake."""
    return _parsed(text, file, None)


def _parsed(text: bytes, file: str, environment: Mapping[str, str] | None) -> Connections:
    shape = "a mapping with `sites`, `sources` and `targets`"
    missing = None if environment is None else lambda data: _missing(data, (), environment)
    return read_model(text, file, Connections, shape=shape, error=_error, words=_words, across=missing)[0]


def _words(error: ValidationError, _data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the mistakes in the words of the file: a source is known by its vendor, a target by its kind."""
    by_place = {one["loc"]: one for one in error.errors(include_url=False)}
    for path, message in told(error, Connections):
        known = {"sources": VENDORS, "targets": KINDS}.get(str(path[0])) if path else None
        yield (path, message) if known is None else _told_of_one(path, message, by_place.get(path), known)


def _told_of_one(path: Path, message: str, found: Any, known: Mapping[str, type[BaseModel]]) -> tuple[Path, str]:
    """Return place and words of a mistake in one source or target, of which pydantic's error is *found*."""
    kind = None if found is None else found["type"]
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        key = "vendor" if path[0] == "sources" else "kind"
        name = str(found["ctx"].get("tag", "")) if "ctx" in found else ""
        hint = f"unknown {key} {name!r}{did_you_mean(name, known)}" if name else f"`{key}` is missing"
        return path[:2], f"{hint}; write one of {', '.join(known)}"
    tag = path[2] if len(path) > 2 else ""
    place = (*path[:2], *path[3:]) if tag in known else path
    if kind == "extra_forbidden" and len(path) == 4:
        keys = [field.alias or name for name, field in known[str(tag)].model_fields.items()]
        return place, f"unknown key {path[3]!r}{did_you_mean(str(path[3]), keys)}; the keys here are {', '.join(keys)}"
    return place, message


def _missing(value: Any, path: Path, environment: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Yield each secret of the plain file that is not there, so that it is named beside mistakes of the structure."""
    match value:
        case str():
            secret = secret_in(value)
            try:
                if secret is not None:
                    secret.resolve(environment)
            except ConnectionsError as error:
                yield path, str(error)
        case dict() | list() | tuple():
            for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
                yield from _missing(inner, (*path, name), environment)
        case _:
            return


def _error(found: list[Mistake]) -> ConnectionsError:
    return ConnectionsError("\n".join(map(str, found)))


def connections_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors of the YAML."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return (
        dialect
        | Connections.model_json_schema(by_alias=True, schema_generator=WrittenSchema)
        | {"title": "LeadPulse connections"}
    )
