"""Paths of look-ups. Those of some vendors depend on the version that their target names."""

from __future__ import annotations

from worker.connections.targets import Target


def path_at(path: str, target: Target) -> str:
    """Return a look-up's *path* below the `base_url` of *target*. It is encoded already, and must be sent as it is.

    `{version}` is the target's version. `{objects}` is where HubSpot has its objects in that version.
    """
    version = str(getattr(target, "version", ""))
    objects = f"/crm/{version}/objects" if version.startswith("v") else f"/crm/objects/{version}"
    return path.replace("{objects}", objects).replace("{version}", version)
