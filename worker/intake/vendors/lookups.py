"""Where a look-up asks. Paths of some vendors depend on the version that their target names."""

from __future__ import annotations

from worker.connections.targets import Target
from worker.intake.vendors.common import Lookup


def address_of(lookup: Lookup, target: Target) -> str:
    """Return the address that answers *lookup*. It is encoded already, and must be sent as it is.

    `{version}` in a path is the target's version. `{objects}` is where HubSpot has its objects in that version.
    """
    version = str(getattr(target, "version", ""))
    objects = f"/crm/{version}/objects" if version.startswith("v") else f"/crm/objects/{version}"
    return str(getattr(target, "base_url", "")) + lookup.path.replace("{objects}", objects).replace("{version}", version)
