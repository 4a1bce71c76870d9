"""The dashboards' queries as Grafana asks them, with its variables filled in: for tests, and for pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

FOLDER: Final = Path(__file__).parent / "dashboards"


class Series(NamedTuple):
    """One series of an answer."""

    name: str
    """As the legend names it."""
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    """Unix time in seconds and value, oldest first."""


class Asked(NamedTuple):
    """One query of a panel."""

    expr: str
    legend: str
    instant: bool


def panels(name: str) -> list[dict[str, Any]]:
    """Return the panels of the dashboard *name* that have queries."""
    board = json.loads((FOLDER / name).read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def asked(panel: Mapping[str, Any]) -> Iterator[Asked]:
    """Yield the queries of *panel*."""
    for target in panel["targets"]:
        yield Asked(target["expr"], target["legendFormat"], bool(target.get("instant")))


class Window(NamedTuple):
    """What a dashboard shows of a Prometheus."""

    url: str
    since_s: float
    until_s: float
    step_s: float
    rate_interval_s: float
    job: str = ".+"
    """The variable `job`, "All" if not set."""

    def ask(self, query: Asked) -> list[Series]:
        """Return what Prometheus answers to *query*. Raises `OSError`, and `ValueError` for a query that it does not take."""
        expr = self.filled(query.expr)
        if query.instant:
            path, arguments = "query", {"query": expr, "time": self.until_s}
        else:
            path, arguments = "query_range", {"query": expr, "start": self.since_s, "end": self.until_s, "step": self.step_s}
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(arguments)}", timeout=30) as answer:
            result = json.load(answer)["data"]["result"]
        return [Series(named(query.legend, one["metric"]), one["metric"], _points(one)) for one in result]

    def filled(self, expr: str) -> str:
        """Return *expr* with every variable filled in. Raises `ValueError` where one is left that this does not know."""
        known = {
            "$job": self.job,
            "$__rate_interval": f"{self.rate_interval_s:g}s",
            "$__range": f"{self.until_s - self.since_s:.0f}s",
        }
        text = re.sub(r"\$\w+", lambda found: known.get(found[0], found[0]), expr)
        if "$" in text:
            raise ValueError(f"{expr}: a variable that no dashboard has")
        return text


def named(legend: str, labels: Mapping[str, str]) -> str:
    """Return *legend* with `{{label}}` filled in as Grafana does: nothing where there is no such label."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend)


def _points(result: Mapping[str, Any]) -> list[tuple[float, float]]:
    pairs = [result["value"]] if "value" in result else result["values"]
    return [(float(at), float(value)) for at, value in pairs]
