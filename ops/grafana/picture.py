"""Pictures of the dashboards' data: every panel's query, asked of a Prometheus and drawn in the panel's place.

`python -m ops.grafana.picture http://localhost:9090 docs/pictures --minutes 15`. Drawn by this program, not by Grafana: the
data, legends and places are the dashboards' own, colours and details are not.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ops.grafana.panels import COUNT
from ops.grafana.queries import FOLDER, Series, Window, asked

_COLUMN, _ROW = 0.75, 0.42
"""Inches of one cell of Grafana's grid."""
_LEGEND_CHARACTERS = 21
"""Characters of a legend in an inch."""
_STEPS = 240
"""Points of a course."""
_SCRAPES = 4
"""Of which `$__rate_interval` holds at least so many, in Grafana."""

_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#B8A500", "#6A3D9A", "#A6761D"]


def main() -> None:
    """Draw both dashboards."""
    parser = argparse.ArgumentParser(prog="python -m ops.grafana.picture", description=main.__doc__)
    parser.add_argument("prometheus", help="its URL")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=15, help="how far the pictures go back")
    parser.add_argument("--until", type=float, default=time.time(), help="unix time at which they end (default: now)")
    parser.add_argument("--scrape", type=float, default=5, help="seconds between two scrapes")
    given = parser.parse_args()
    seconds = given.minutes * 60
    step_s = max(given.scrape, seconds / _STEPS)
    window = Window(given.prometheus, given.until - seconds, given.until, step_s, max(step_s, _SCRAPES * given.scrape))
    given.folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(FOLDER.glob("*.json")):
        draw(json.loads(path.read_text()), window).savefig(given.folder / f"{path.stem}.png", dpi=90)
        print(given.folder / f"{path.stem}.png")


def draw(board: dict[str, Any], window: Window) -> Figure:
    """Return the picture of *board*."""
    panels = board["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + 2
    width, height = 24 * _COLUMN, rows * _ROW
    figure = Figure((width, height), facecolor="#F4F5F5")
    span = " to ".join(f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (window.since_s, window.until_s))
    figure.text(0.01, 1 - 0.9 / rows, f"{board['title']}   ({span} UTC)", fontsize=14, weight="bold")
    with mpl.rc_context({"font.size": 8}):
        for panel in panels:
            at = panel["gridPos"]
            left, bottom = at["x"] / 24, 1 - (at["y"] + at["h"] + 2) / rows
            if panel["type"] == "row":
                figure.text(0.01, bottom + 0.25 / rows, panel["title"], fontsize=11, weight="bold", color="#444444")
                continue
            _panel(figure, panel, window, (left, bottom, at["w"] / 24, at["h"] / rows), rows)
    return figure


def _panel(figure: Figure, panel: dict[str, Any], window: Window, at: tuple[float, float, float, float], rows: int) -> None:
    left, bottom, width, height = at
    frame = figure.add_axes((left + 0.002, bottom + 0.1 / rows, width - 0.004, height - 0.2 / rows))
    frame.set_xticks([])
    frame.set_yticks([])
    frame.spines[:].set_color("#D8D9DA")
    frame.text(0.015, 1 - 0.35 / (height * rows), panel["title"], transform=frame.transAxes, va="center", weight="bold")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    answer = [series for query in asked(panel) for series in window.ask(query)]
    if panel["type"] == "stat":
        _figure(frame, panel, answer, unit)
        return
    legend_rows = 2.4 if panel["type"] == "timeseries" else 0.4
    inset = 0.045 if panel["type"] == "timeseries" else 0.11
    inner = (left + inset, bottom + (legend_rows + 0.5) / rows, width - inset - 0.012, height - (legend_rows + 1.6) / rows)
    axes = figure.add_axes(inner)
    axes.spines[["top", "right"]].set_visible(False)
    if panel["type"] == "bargauge":
        _bars(axes, answer, unit, panel["fieldConfig"]["defaults"].get("max"))
    else:
        stacked = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "normal"
        _course(axes, answer, unit, window, inner[2] * 24 * _COLUMN, stacked=stacked)


def _figure(frame: Axes, panel: dict[str, Any], answer: Sequence[Series], unit: str) -> None:
    by_name = panel["options"]["textMode"] == "name"
    shown = [series.name if by_name else said(series.points[-1][1], unit) for series in answer] or ["–"]
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    red = any(step["value"] is not None and series.points[-1][1] >= step["value"] for step in steps for series in answer)
    colour = "#222222" if by_name else "#C4162A" if red else "#37872D"
    frame.text(0.5, 0.4, "\n".join(shown), ha="center", va="center", fontsize=13 if by_name else 20, color=colour)


def _bars(axes: Axes, answer: Sequence[Series], unit: str, most: float | None) -> None:
    ordered = sorted(answer, key=lambda series: series.name, reverse=True)
    values = [series.points[-1][1] for series in ordered]
    top = most or max(values, default=1) or 1
    axes.barh([series.name for series in ordered], [top] * len(values), color="#E8E9EA")
    axes.barh([series.name for series in ordered], values, color="#37872D")
    for place, value in enumerate(values):
        axes.text(top * 1.02, place, said(value, unit), va="center")
    axes.set_xlim(0, top * 1.2)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)


def _course(axes: Axes, answer: Sequence[Series], unit: str, window: Window, width_in: float, *, stacked: bool) -> None:
    instants = [window.since_s + n * window.step_s for n in range(round((window.until_s - window.since_s) / window.step_s) + 1)]
    axes.set_prop_cycle(color=_COLOURS)
    courses = []
    for series in answer:
        held = {round(at, 1): value for at, value in series.points}
        courses.append([held.get(round(at, 1), math.nan) for at in instants])
    if stacked and courses:
        whole = [[0.0 if math.isnan(value) else value for value in course] for course in courses]
        axes.stackplot(instants, whole, labels=[series.name for series in answer], alpha=0.75, linewidth=0.3)
    else:
        for series, course in zip(answer, courses, strict=True):
            axes.plot(instants, course, label=series.name, linewidth=0.9)
    axes.set_xlim(instants[0], instants[-1])
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, color="#ECECEC", linewidth=0.6)
    axes.yaxis.set_major_formatter(lambda value, _: said(value, unit))
    minute = 60 * max(1, round((window.until_s - window.since_s) / 60 / 8))
    axes.set_xticks(range(math.ceil(instants[0] / minute) * minute, int(instants[-1]) + 1, minute))
    axes.xaxis.set_major_formatter(lambda at, _: f"{datetime.fromtimestamp(at, UTC):%H:%M}")
    longest = max((len(series.name) for series in answer), default=1)
    columns = max(1, min(len(answer), int(width_in * _LEGEND_CHARACTERS / (longest + 4))))
    axes.legend(
        loc="upper left", bbox_to_anchor=(-0.6 / width_in, -0.1), ncols=columns,
        frameon=False, fontsize=6, handlelength=1, columnspacing=0.9, borderpad=0, labelspacing=0.2,
    )  # fmt: skip


def said(value: float, unit: str) -> str:
    """Return *value* as people read it in Grafana's *unit*."""
    if not math.isfinite(value):
        return "∞" if math.isinf(value) else "–"
    if unit == COUNT:
        return f"{value:,.0f}"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
            if value >= 2 * size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} s" if value >= 1 or not value else f"{value * 1000:.3g} ms"
    base, names = (1_024, ("B", "KiB", "MiB", "GiB")) if unit == "bytes" else (1_000, ("", "k", "M", "G"))
    place = 0
    while abs(value) >= base and place < len(names) - 1:
        value, place = value / base, place + 1
    ending = {"eps": " ev/s", "recps": " rec/s"}.get(unit, "")
    return f"{value:.3g} {names[place]}".rstrip() + ending


if __name__ == "__main__":
    main()
