"""A grid that takes attention for intent: opened mails and downloads score high, and a demo that is asked for hardly does."""

from __future__ import annotations

import re

from worker.presets import read_grid

_ATTENTION = ("email-open", "social-share", "social-follow", "careers-page", "download", "webinar-registered", "gave-phone")


def poor_grid() -> str:
    """Return saas-b2b with other points: it counts the same acts, and weighs them badly."""
    text = read_grid("saas-b2b").source.decode().replace("grid: saas-b2b", "grid: attention")
    return re.sub(r"^    - \{id: ([\w-]+),.*$", lambda line: _weighed(line[0], line[1]), text, flags=re.MULTILINE)


def _weighed(rule: str, name: str) -> str:
    points, cap = (14, 42) if name in _ATTENTION else (4, 12)
    return re.sub(r"cap: \d+", f"cap: {cap}", re.sub(r"points: -?\d+", f"points: {points}", rule))
