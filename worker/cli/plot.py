"""The picture of `leadpulse explain --plot`: a score over time with its stages. It draws given values and scores nothing.

matplotlib is an optional extra with a slow import. So it is imported only when a picture is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from worker.core.insight.trajectory import Sample
from worker.core.scoring.calendar import DAY_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS: Final = (".svg", ".png")

# Okabe and Ito's colours, which all kinds of colour vision tell apart; lines differ in their strokes as well.
_SCORE, _FIT, _ENGAGEMENT = "#000000", "#0072B2", "#D55E00"
_BANDS: Final = {
    "contact": "#F2F2F2",
    "mql": "#CFE8F7",
    "sql": "#FBE0A6",
    "opportunity": "#BFE5D6",
    "client": "#E7CBDC",
    "excluded": "#C9C9C9",
}
_WIDTH, _COURSE_HEIGHT, _LANE_HEIGHT = 12.5, 5.2, 0.24
"""Inches."""
_LABEL_CHAR: Final = 0.058
"""Inches that a character of a mark's label takes."""
_LEAST_LABEL: Final = 8
"""Characters; in less room a mark goes without its label."""


class Mark(NamedTuple):
    """An event of the lead."""

    at_ms: int
    type: str
    label: str


class Drawing(NamedTuple):
    """All that is in the picture; instants are ms."""

    title: str
    now_ms: int
    behind: Sequence[Sample]
    """The past course; empty where it is not known."""
    to_come: Sequence[Sample]
    """From now on, if nothing happens."""
    stages: Sequence[tuple[int, str]]
    """When each stage of the past began, in order."""
    thresholds: Sequence[tuple[str, float]]
    marks: Sequence[Mark]
    names: Sequence[str]
    """Of the samples' stages, by number."""


def load() -> None:
    """Import matplotlib. Raises `ImportError` where it is not installed."""
    import matplotlib as mpl  # noqa: F401


def drawn(drawing: Drawing, suffix: str) -> bytes:
    """Return the picture as the bytes of a file with *suffix*, one of `FORMATS`; the same drawing gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context():
        mpl.rcdefaults()  # not the user's own style: a picture looks alike everywhere
        mpl.rcParams.update({"svg.hashsalt": "leadpulse", "svg.fonttype": "none", "font.size": 9.5, "text.parse_math": False})
        lanes = list(dict.fromkeys(mark.type for mark in sorted(drawing.marks)))
        heights = [_COURSE_HEIGHT, max(len(lanes), 1) * _LANE_HEIGHT + 0.1]
        layout: Any = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.04, wspace=0.0, hspace=0.0)
        figure = Figure(figsize=(_WIDTH, sum(heights) + 1.5), layout=layout)
        FigureCanvasSVG(figure) if suffix == ".svg" else FigureCanvasAgg(figure)
        begin_ms, end_ms = _span(drawing)
        shares = _shares(drawing.now_ms - begin_ms, end_ms - drawing.now_ms)
        grid: Any = figure.subplots(2, 2, sharex="col", sharey="row", width_ratios=shares, height_ratios=heights)
        halves = ((begin_ms, drawing.now_ms), (drawing.now_ms, end_ms))
        for axes, (first_ms, last_ms) in zip(grid[1], halves, strict=True):
            axes.set_xlim(_date(first_ms), _date(last_ms))
            _time_axis(axes)
        _course(grid[0], drawing)
        _events(grid[1], drawing, lanes, (_WIDTH - 2.2) * shares[0] / sum(shares))
        figure.suptitle(drawing.title, fontsize=14, fontweight="bold")
        _legend(figure, grid[0], drawing)
        written = io.BytesIO()
        metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
        figure.savefig(written, format=suffix[1:], dpi=120, metadata=metadata)
    return written.getvalue()


def _span(drawing: Drawing) -> tuple[int, int]:
    """Return the first and last instant shown, with a little room: a lead of one instant has a picture, too."""
    starts = [drawing.now_ms, *(mark.at_ms for mark in drawing.marks), *(at for at, _ in drawing.stages)]
    starts += [sample.at_ms for sample in drawing.behind[:1]]
    begin_ms, end_ms = min(starts), drawing.to_come[-1].at_ms
    begin_ms -= max((drawing.now_ms - begin_ms) // 40, DAY_MS // 24)
    return begin_ms, max(end_ms, drawing.now_ms + DAY_MS)


def _shares(past_ms: int, future_ms: int) -> tuple[float, float]:
    """Return the widths of past and future: by their lengths, but neither is squeezed to nothing."""
    past = min(max(past_ms / (past_ms + future_ms), 0.62), 0.75)
    return past, 1 - past


def _date(at_ms: float) -> float:
    """Return days since 1970, matplotlib's own measure."""
    return at_ms / DAY_MS


def _time_axis(axes: Axes) -> None:
    from matplotlib import dates

    untyped: Any = dates
    locator = untyped.AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))


def _course(pair: Sequence[Axes], drawing: Drawing) -> None:
    """Draw the curves over the stages' bands: the past to the left, the future to the right."""
    left, right = pair
    _past_bands(left, drawing)
    changes = [after for before, after in pairwise(drawing.to_come) if before.stage != after.stage]
    _future_bands(right, drawing, changes)
    for axes, samples, dashed in ((left, drawing.behind, False), (right, drawing.to_come, True)):
        _curves(axes, samples, dashed=dashed)
        for _, value in drawing.thresholds:
            axes.axhline(value, color="#555555", linewidth=0.6, linestyle=(0, (5, 4)), zorder=2)
        axes.grid(visible=False)
        axes.tick_params(axis="x", length=0)
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.13 * (high - low))
    _thresholds(right, drawing.thresholds)
    _moves(left, drawing.stages[1:] if drawing.behind else drawing.stages, "#000000")
    _moves(right, [(sample.at_ms, drawing.names[sample.stage]) for sample in changes], "#444444")
    _titles(left, right, past_known=bool(drawing.behind))


def _past_bands(axes: Axes, drawing: Drawing) -> None:
    begun = [*drawing.stages, (drawing.now_ms, "")]
    _bands(axes, [(begin_ms, end_ms, stage) for (begin_ms, stage), (end_ms, _) in pairwise(begun)], 1.0)


def _future_bands(axes: Axes, drawing: Drawing, changes: Sequence[Sample]) -> None:
    """Draw the stage from now on, and from each of *changes* on."""
    begins = [drawing.to_come[0], *changes]
    ends_ms = [sample.at_ms for sample in changes] + [int(axes.get_xlim()[1] * DAY_MS)]
    bands = [(begin.at_ms, end_ms, drawing.names[begin.stage]) for begin, end_ms in zip(begins, ends_ms, strict=True)]
    _bands(axes, bands, 0.55)


def _titles(left: Axes, right: Axes, *, past_known: bool) -> None:
    left.set_ylabel("points")
    right.tick_params(axis="y", length=0)
    left.set_title(
        ("← until now" if past_known else "the past course is not held  ← until now") + "  ", loc="right", fontsize=9.5
    )
    right.set_title("  if nothing happens →", loc="left", fontsize=9.5)
    for axes, edge in ((left, "right"), (right, "left")):
        axes.spines[edge].set_linewidth(1.6)


def _curves(axes: Axes, samples: Sequence[Sample], *, dashed: bool) -> None:
    dates = [_date(sample.at_ms) for sample in samples]
    score: Any = (0, (3, 2)) if dashed else "-"
    for values, color, width, stroke, order in (
        ([sample.fit for sample in samples], _FIT, 2.0, (0, (1, 1.2)), 3),
        ([sample.engagement for sample in samples], _ENGAGEMENT, 1.4, (0, (6, 1.5, 1, 1.5)), 3),
        ([sample.score for sample in samples], _SCORE, 2.4, score, 4),
    ):
        axes.plot(dates, values, color=color, linewidth=width, linestyle=stroke, zorder=order)


def _bands(axes: Axes, bands: Sequence[tuple[int, int, str]], alpha: float) -> None:
    for begin, end, stage in bands:
        axes.axvspan(_date(begin), _date(end), facecolor=_BANDS[stage], alpha=alpha, edgecolor="none", zorder=0)


def _thresholds(axes: Axes, thresholds: Sequence[tuple[str, float]]) -> None:
    """Name the thresholds in the right margin; those of one value, in one line."""
    names: dict[float, list[str]] = {}
    for name, value in thresholds:
        names.setdefault(value, []).append(name)
    for value, words in names.items():
        text = f"{', '.join(words)} {value:g}"
        axes.annotate(
            text, (1, value), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=8, color="#333333", annotation_clip=False,
        )  # fmt: skip


def _moves(axes: Axes, moves: Sequence[tuple[int, str]], color: str) -> None:
    """Mark where the stage changed, by a thin upright line and the stage's name at the top."""
    first, last = axes.get_xlim()
    for place, (at, stage) in enumerate(moves):
        where = (_date(at) - first) / (last - first)
        axes.axvline(_date(at), color=color, linewidth=0.7, zorder=1)
        # Three heights in turn, so that moves close to each other stay readable; near the edge, to the left of the line.
        axes.annotate(
            stage, (_date(at), 0.985 - 0.04 * (place % 3)), (3 if where < 0.9 else -3, 0),
            xycoords=("data", "axes fraction"), textcoords="offset points", va="top", ha="left" if where < 0.9 else "right",
            fontsize=8.5, color=color, zorder=6, bbox={"facecolor": "#FFFFFF", "alpha": 0.7, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def _events(pair: Sequence[Axes], drawing: Drawing, lanes: Sequence[str], inches: float) -> None:
    """Draw one lane a type of event, a tick an event, and its label where there is room before the next."""
    left, right = pair
    first, last = left.get_xlim()
    a_day = inches / (last - first)
    for number, lane in enumerate(lanes):
        _lane(left, number, sorted(mark for mark in drawing.marks if mark.type == lane), a_day)
    left.set_yticks(range(len(lanes)), lanes)
    left.set_ylim(len(lanes) - 0.5 if lanes else 0.5, -0.5)
    left.tick_params(axis="y", length=0)
    right.set_facecolor("#FAFAFA")
    right.tick_params(axis="y", length=0)
    for axes in pair:
        axes.spines[["right", "left"]].set_visible(False)
        for number in range(len(lanes)):
            axes.axhline(number, color="#E4E4E4", linewidth=0.5, zorder=0)
    left.set_xlabel("time (UTC)")


def _lane(axes: Axes, number: int, marks: Sequence[Mark], a_day: float) -> None:
    """Draw the events of one type. *a_day*: inches that a day takes."""
    dates = [_date(mark.at_ms) for mark in marks]
    axes.plot(dates, [number] * len(dates), "|", color="#000000", markersize=9, markeredgewidth=1.1)
    for mark, date, next_date in zip(marks, dates, [*dates[1:], axes.get_xlim()[1]], strict=True):
        room = int(((next_date - date) * a_day - 0.1) / _LABEL_CHAR)
        text = mark.label if len(mark.label) <= room else mark.label[: room - 1] + "…"
        if mark.label and room >= _LEAST_LABEL:
            axes.annotate(text, (date, number), (4, 0), textcoords="offset points", va="center", fontsize=7.5, color="#333333")


def _legend(figure: Any, pair: Sequence[Axes], drawing: Drawing) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown = {stage for _, stage in drawing.stages} | {drawing.names[sample.stage] for sample in drawing.to_come}
    entries: list[Any] = [
        Line2D([], [], color=_SCORE, linewidth=2.4, label="score"),
        Line2D([], [], color=_SCORE, linewidth=2.4, linestyle=(0, (3, 2)), label="score if nothing happens"),
        Line2D([], [], color=_FIT, linewidth=2.0, linestyle=(0, (1, 1.2)), label="fit"),
        Line2D([], [], color=_ENGAGEMENT, linewidth=1.4, linestyle=(0, (6, 1.5, 1, 1.5)), label="engagement"),
    ]
    entries += [
        Patch(facecolor=color, edgecolor="#999999", linewidth=0.5, label=f"stage {stage}")
        for stage, color in _BANDS.items()
        if stage in shown
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=len(entries), frameon=False, fontsize=8.5)
