"""What `doctor` finds about the connections: the file, its secrets, each live account, and a grid that fits them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal

from worker.connections.file import read_connections
from worker.connections.models import Connections
from worker.core.grid.messages import shown_path
from worker.core.grid.models import Grid
from worker.errors import ConnectionsError
from worker.queries.connection_tests import SET_SECRET, try_connections

Found = tuple[str, Literal["ok", "hint", "warning", "error"], str, str]
"""Area, level, what was found, and what to do."""


def connections_file(environment: Mapping[str, str]) -> str | None:
    """Return the file of connections; `None` where none is configured and none has the default's name."""
    named = environment.get("LEADPULSE_CONNECTIONS")
    return named or ("connections.yaml" if Path("connections.yaml").is_file() else None)


async def connection_findings(environment: Mapping[str, str], grid: Grid | None) -> AsyncIterator[Found]:
    """Look at the connections, where there are any. Each live account is asked, and nothing is written there."""
    file = connections_file(environment)
    if file is None:
        return
    try:
        connections = read_connections(file)
    except ConnectionsError as error:
        for line in str(error).splitlines():
            yield "connections", "error", line, ""
        return
    counts = f"{len(connections.sites)} sites, {len(connections.sources)} sources, {len(connections.targets)} targets"
    yield "connections", "ok", f"{file}: {counts}", ""
    for path, secret in connections.secrets():
        if path[0] in ("tokens", "sites"):  # those of sources and targets are named with them
            try:
                secret.resolve(environment)
            except ConnectionsError as error:
                yield "connections", "error", f"{shown_path(path)}: {error}", SET_SECRET
    async for one in try_connections(connections, environment):
        yield "connections", one.level, f"{one.direction} {one.name}: {one.what}", one.what_to_do
    if grid is not None and _links_addresses(connections) and (grid.identity is None or grid.identity.email != "link"):
        what = "without `identity: {email: link}`, what mail tools say of an address does not count for the CRM's lead"
        yield "grid", "warning", what, "add it to the grid (docs/connect.md)"


def _links_addresses(connections: Connections) -> bool:
    """Return whether events come that name people by their address."""
    return bool(connections.sites or connections.sources)
