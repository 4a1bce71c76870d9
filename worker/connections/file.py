"""The file of connections, read and checked whole: every mistake by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError

from worker.connections.models import Connections
from worker.connections.sources import VENDORS
from worker.connections.targets import KINDS
from worker.core.contract.printable import plain
from worker.core.grid.messages import Mistake, shown_path, told
from worker.core.grid.values import did_you_mean
from worker.core.grid.yaml_lines import Document, Path, read_yaml
from worker.errors import ConnectionsError


def read_connections(path: str, environment: Mapping[str, str] | None = None) -> Connections:
    """Return the connections in the file at *path*; with *environment*, every secret must be there too.

    Raises `ConnectionsError`.
    """
    try:
        text = FilePath(path).read_bytes()
    except OSError as error:
        raise ConnectionsError(f"{path}: {error.strerror}: LEADPULSE_CONNECTIONS names the file of connections") from error
    connections, document = _parsed(text, path)
    if environment is not None:
        _check_secrets(connections, document, path, environment)
    return connections


def parse_connections(text: bytes, file: str) -> Connections:
    """Return the connections in *text*; *file* names it in mistakes. Raises `ConnectionsError` with every mistake."""
    return _parsed(text, file)[0]


def _parsed(text: bytes, file: str) -> tuple[Connections, Document]:
    document = read_yaml(text) if text.strip() else Document(data={}, lines={(): 1})
    found = list(document.mistakes)
    made: Connections | None = None
    if document.lines and isinstance(document.data, dict):
        try:
            made = Connections.model_validate(document.data)
        except ValidationError as error:
            found += ((document.line(path), path, message) for path, message in _told(error))
    elif not found:
        found.append((1, (), "write a mapping with `sites`, `sources` and `targets`"))
    if made is None or found:
        raise _error(found, file)
    return made, document


def _told(error: ValidationError) -> Iterator[tuple[Path, str]]:
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


def _check_secrets(connections: Connections, document: Document, file: str, environment: Mapping[str, str]) -> None:
    missing = []
    for path, secret in connections.secrets():
        try:
            secret.resolve(environment)
        except ConnectionsError as error:
            missing.append((document.line(path), path, str(error)))
    if missing:
        raise _error(missing, file)


def _error(found: list[tuple[int, Path, str]], file: str) -> ConnectionsError:
    unique = dict.fromkeys(sorted(found, key=lambda one: one[0]))
    return ConnectionsError("\n".join(str(Mistake(file, line, shown_path(path), plain(words))) for line, path, words in unique))


def connections_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors of the YAML."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | Connections.model_json_schema(by_alias=True) | {"title": "LeadPulse connections"}
