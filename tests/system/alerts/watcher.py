"""A Prometheus with the alerts, sped up, and what it saw fire and clear."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.request import urlopen

from ruamel.yaml import YAML

from ops.dev.prometheus_server import Prometheus
from ops.dev.services import REPOSITORY

RULES: Final = REPOSITORY / "ops/prometheus/rules/leadpulse.yml"


SCRAPE_S: Final = 15.0
"""Between two looks of Prometheus, where nothing is sped up."""


UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def sped_up(rules: dict[str, Any], factor: float) -> dict[str, Any]:
    """Return *rules* with every window, `for`, interval and compared age divided by *factor*."""

    def duration(text: str) -> str:
        return f"{round(int(text[:-1]) * UNITS[text[-1]] * 1000 / factor)}ms"

    def expression(text: str) -> str:
        text = re.sub(r"(?<=\[)\d+[smhdw](?=\])|(?<=offset )\d+[smhdw]", lambda found: duration(found[0]), text)
        return re.sub(
            r"((?:lag|fetch_age|pending)_seconds(?::max)?\)? > )(\d+)",
            lambda found: f"{found[1]}{int(found[2]) / factor:g}",
            text,
        )

    groups = []
    for group in rules["groups"]:
        changed = [
            {**rule, "expr": expression(rule["expr"])} | ({"for": duration(rule["for"])} if "for" in rule else {})
            for rule in group["rules"]
        ]
        groups.append({**group, "rules": changed} | ({"interval": duration(group["interval"])} if "interval" in group else {}))
    return {"groups": groups}


class Watcher(Prometheus):
    """A Prometheus with the alerts, sped up by *factor*."""

    def __init__(self, targets: Sequence[str], factor: float) -> None:
        super().__init__(targets, every=f"{round(SCRAPE_S * 1000 / factor)}ms")
        self._factor = factor

    def _command(self) -> Sequence[str]:
        command = super()._command()
        YAML(typ="safe").dump(sped_up(YAML(typ="safe").load(RULES), self._factor), self.folder / "rules.yml")
        config = self.folder / "prometheus.yml"
        told: dict[str, Any] = json.loads(config.read_text())
        every = told["global"]["scrape_interval"]
        told["global"] |= {"evaluation_interval": every, "scrape_timeout": every}
        config.write_text(json.dumps(told | {"rule_files": ["rules.yml"]}))
        return command

    def firing(self) -> dict[str, str]:
        """Return the summaries of the alerts that fire now, by name."""
        with urlopen(f"{self.url}/api/v1/alerts", timeout=10) as answer:
            alerts = json.load(answer)["data"]["alerts"]
        return {one["labels"]["alertname"]: one["annotations"]["summary"] for one in alerts if one["state"] == "firing"}


@dataclass
class Spell:
    """One time that an alert fired, by the clock of who looks twice a second."""

    alert: str
    summary: str
    fired: float
    cleared: float | None = None


class Timeline:
    """What fired and cleared, and when."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.spells: list[Spell] = []
        self.begins: list[float] = []
        """Of the faults."""

    def now(self) -> set[str]:
        """Return the alerts that fire."""
        return {spell.alert for spell in self.spells if spell.cleared is None}

    async def look(self) -> None:
        """Look for ever."""
        while True:
            with contextlib.suppress(OSError):
                found = await asyncio.to_thread(self._watcher.firing)
                at = time.monotonic()
                for spell in self.spells:
                    if spell.cleared is None and spell.alert not in found:
                        spell.cleared = at
                now = self.now()
                self.spells += [Spell(alert, words, at) for alert, words in found.items() if alert not in now]
            await asyncio.sleep(0.5)
