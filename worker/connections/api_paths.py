"""Paths below the `base_url` of a target. Those of some vendors depend on the version that the target names."""

from __future__ import annotations

from urllib.parse import quote

from worker.connections.targets import Target


def path_at(path: str, target: Target) -> str:
    """Return *path* below the `base_url` of *target*. It is encoded already, and must be sent as it is.

    `{version}` is the target's version. `{objects}` and `{properties}` are where HubSpot has those in that version, and
    `{id_property}` is its property with the lead's id.
    """
    path = path.replace("{id_property}", quote(getattr(target, "id_property", ""), safe=""))
    version = str(getattr(target, "version", ""))
    for part in ("objects", "properties"):
        path = path.replace(f"{{{part}}}", f"/crm/{version}/{part}" if version.startswith("v") else f"/crm/{part}/{version}")
    return path.replace("{version}", version)
