"""The kinds of targets that can be acted on, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.automations.targets import (
    activecampaign,
    brevo,
    hubspot,
    pipedrive,
    salesforce,
    slack,
    smtp,
    teams,
    webhook,
    yousign,
    zoho,
)  # fmt: skip
from worker.automations.targets.common import Kind

_ALL: Final[tuple[Kind, ...]] = (
    activecampaign.KIND, brevo.KIND, hubspot.KIND, pipedrive.KIND, salesforce.KIND, slack.KIND, smtp.KIND, teams.KIND,
    webhook.KIND, yousign.KIND, zoho.KIND,
)  # fmt: skip

KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in _ALL}
"""By the `kind` of a target in the connections."""
