"""The kinds of targets that can be acted on, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.automations.targets import hubspot, pipedrive, salesforce, webhook, zoho
from worker.automations.targets.common import Kind

_ALL: Final[tuple[Kind, ...]] = (hubspot.KIND, pipedrive.KIND, salesforce.KIND, webhook.KIND, zoho.KIND)

KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in _ALL}
"""By the `kind` of a target in the connections."""
