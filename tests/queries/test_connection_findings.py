"""What `doctor` says of connections: the file, secrets, live accounts, and a grid that fits them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.accounts import SECRETS, vendors
from tests.kit.grids import changed, parsed
from worker.core.grid.models import Grid
from worker.queries.connection_findings import connection_findings, connections_file

PLAIN = "grid: g\nversion: 1\n"


async def found(environment: dict[str, str], grid: Grid | None = None) -> list[tuple[str, str, str, str]]:
    """Return the findings."""
    return [one async for one in connection_findings(environment, grid)]


async def test_without_connections_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker alone needs none."""
    monkeypatch.chdir(tmp_path)
    assert await found({}) == []
    (tmp_path / "connections.yaml").write_text("")
    assert connections_file({}) == "connections.yaml"
    assert [one[1] for one in await found({})] == ["ok"]


async def test_mistakes_and_missing_secrets_are_errors_once_each(tmp_path: Path) -> None:
    """Those of sites and tokens too, which no account knows of."""
    file = tmp_path / "c.yaml"
    environment = {"LEADPULSE_CONNECTIONS": str(file)}
    [missing] = await found(environment)
    assert missing[1] == "error"
    assert "LEADPULSE_CONNECTIONS" in missing[2]
    file.write_text("tokens: [abc]\nsources: {a: {vendor: brevoo}}\n")
    assert [(level, ":1:" in what or ":2:" in what) for _, level, what, _ in await found(environment)] == [("error", True)] * 2
    file.write_text("tokens: ['${NO}']\nsources: {a: {vendor: brevo, secrets: '${NO}'}}\n")
    errors = [what for _, level, what, _ in await found(environment) if level == "error"]
    assert len(errors) == 2
    assert errors[0].startswith("tokens[0]: the variable NO")
    assert errors[1].startswith("source a: the variable NO")


async def test_each_live_account_is_asked(tmp_path: Path) -> None:
    """Read-only."""
    async with vendors() as api:
        file = tmp_path / "c.yaml"
        file.write_text(f"targets:\n  crm: {api.target('hubspot')}\n  old: {api.target('brevo', 'WRONG')}\n")
        levels = {
            what.partition(":")[0]: level for _, level, what, _ in await found({"LEADPULSE_CONNECTIONS": str(file), **SECRETS})
        }
        assert levels["target crm"] == "ok"
        assert levels["target old"] == "error"
        assert {method for method, _ in api.asked} == {"GET"}


@pytest.mark.parametrize(
    ("identity", "sources", "warned"),
    [
        (None, "sources: {a: {vendor: brevo, secrets: '${GOOD}'}}", True),
        ({"email": "report"}, "sites: {www: {origins: ['https://www.example.com']}}", True),
        ({"email": "link"}, "sources: {a: {vendor: brevo, secrets: '${GOOD}'}}", False),
        (None, "tokens: ['${GOOD}']", False),
    ],
)
async def test_a_grid_that_does_not_link_addresses_is_warned_of(
    tmp_path: Path, identity: dict[str, str] | None, sources: str, warned: bool
) -> None:
    """Where events come that name people by their address. Systems that send events name their leads themselves."""
    file = tmp_path / "c.yaml"
    file.write_text(sources)
    grid = parsed(changed(PLAIN, {"identity": identity}) if identity else PLAIN)
    environment = {"LEADPULSE_CONNECTIONS": str(file), **SECRETS}
    said = [(area, level) for area, level, what, _ in await found(environment, grid) if "identity" in what]
    assert said == ([("grid", "warning")] if warned else [])
