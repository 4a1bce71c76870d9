"""The grids that come along, and events of a director for them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from worker.core.grid.models import Grid, parse_grid

PRESETS = sorted(entry.name.removesuffix(".yaml") for entry in files("grids").iterdir() if entry.name.endswith(".yaml"))

# A B2B SaaS company of 50 to 200 people, in France, and its marketing director.
DIRECTOR = {
    "email": "ada@acme.example",
    "role": "Marketing Director",
    "country": "FR",
    "company": {"name": "Acme", "domain": "acme.example", "industry": "SaaS", "size": 120, "type": "B2B"},
}


def preset(name: str) -> Grid:
    """Return a grid that comes along."""
    return parse_grid(files("grids").joinpath(f"{name}.yaml").read_bytes(), name)


def at(day: int, event_type: str, **data: Any) -> str:
    """Return one line: the lead does it at ten o'clock, *day* of March."""
    event = {
        "specversion": "1.0",
        "source": "/site",
        "type": event_type,
        "subject": "ada",
        "time": f"2026-03-{day:02}T10:00:00Z",
    }
    return json.dumps(event | {"id": f"{day}-{event_type}-{len(data)}", "data": data})


KNOWN = [at(1, "profile.updated", traits=DIRECTOR)]
WEBINAR = [at(2, "webinar.registered", webinar_id="w"), at(5, "webinar.attended", webinar_id="w", share=0.9)]
PRICING = [at(8, "page.viewed", url="https://vendor.example/pricing", session_id="s")]
