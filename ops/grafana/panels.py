"""What the dashboards are made of: the few kinds of panel that they have, all asked of one job or of several."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BarGaugeNamePlacement,
    BarGaugeValueMode,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

COUNT = "none"
"""Grafana's unit of what is counted one by one."""

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

Panel = timeseries.Panel | stat.Panel | bargauge.Panel
_P = TypeVar("_P", timeseries.Panel, stat.Panel, bargauge.Panel)


class Query(NamedTuple):
    """One query of a panel."""

    expr: str
    legend: str
    """What each of its series is called: words, and `{{label}}` where there is more than one."""


def metric(name: str, over: str = "", **labels: str) -> str:
    """Return the series of `leadpulse_NAME` of the jobs that are looked at, *over* such a time, with *labels*.

    A label's value is what it must be, or a whole matcher: `!~"a.*"`.
    """
    matchers = (value if value[0] in "=!" else f'="{value}"' for value in labels.values())
    fit = ",".join(('job=~"$job"', *map("".join, zip(labels, matchers, strict=True))))
    return f"leadpulse_{name}{{{fit}}}" + (f"[{over}]" if over else "")


def rate(name: str, **labels: str) -> str:
    """Return how fast a counter rises, a second, over the shortest time that tells."""
    return f"rate({metric(name, '$__rate_interval', **labels)})"


def gained(name: str, **labels: str) -> str:
    """Return how much a counter rose within what the dashboard shows."""
    return f"increase({metric(name, '$__range', **labels)})"


def quantile(share: float, name: str, by: str = "") -> str:
    """Return the time that *share* of what a histogram counted stayed below, for each value of the label *by*."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) ({rate(name + '_bucket')}))"


def board(uid: str, title: str, description: str, since: str) -> dashboard.Dashboard:
    """Return a dashboard without panels, that shows the time from *since* on."""
    job = (
        dashboard.QueryVariable("job")
        .label("job")
        .description("One for each namespace, and one for the collectors")
        .datasource(SOURCE)
        .query('label_values({__name__=~"leadpulse_build_info|leadpulse_collect_kafka_up"}, job)')
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )
    link = (
        dashboard.DashboardLink("LeadPulse")
        .type(DashboardLinkType.DASHBOARDS)
        .tags(["leadpulse"])
        .include_vars(True)
        .keep_time(True)
        .icon("dashboard")
    )
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["leadpulse"])
        .timezone("browser")
        .time(since, "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("source").type("prometheus"))
        .with_variable(job)
        .link(link)
    )


def row(title: str) -> dashboard.Row:
    """Return a heading above the panels that follow."""
    return dashboard.Row(title)


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    span: int = 8,
    stacked: bool = False,
) -> timeseries.Panel:
    """Return a panel of courses over time."""
    panel = (
        timeseries.Panel()
        .fill_opacity(20 if stacked else 8)
        .line_width(1)
        .legend(
            common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    panel.min(0)
    return _common(panel, title, description, unit, queries, span, 8)


def figure(
    title: str, description: str, unit: str, *queries: Query, span: int = 4, red_from: float | None = None
) -> stat.Panel:
    """Return a panel of one figure each query, as of now, red from *red_from* on."""
    one = len(queries) == 1 and "{{" not in queries[0].legend
    panel = _stat(BigValueColorMode.VALUE, BigValueTextMode.AUTO if one else BigValueTextMode.VALUE_AND_NAME)
    _thresholds(panel, red_from)
    if unit == COUNT:
        panel.decimals(0)  # Prometheus' `increase` is no whole number
    return _common(panel, title, description, unit, queries, span, 4, instant=True)


def names(title: str, description: str, *queries: Query, span: int = 4) -> stat.Panel:
    """Return a panel that shows what series are called: versions, a grid."""
    panel = _stat(BigValueColorMode.NONE, BigValueTextMode.NAME)
    return _common(panel, title, description, "short", queries, span, 4, instant=True)


def bars(title: str, description: str, unit: str, *queries: Query, span: int = 8, most: float | None = None) -> bargauge.Panel:
    """Return a panel of bars, one a series, full at *most*."""
    panel = (
        bargauge.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .value_mode(BarGaugeValueMode.TEXT)
        .name_placement(BarGaugeNamePlacement.LEFT)
        .show_unfilled(True)
        .min(0)
        .no_value("–")
    )
    _thresholds(panel, None)
    if most is not None:
        panel.max(most)
    return _common(panel, title, description, unit, queries, span, 8, instant=True)


def _stat(color: BigValueColorMode, text: BigValueTextMode) -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(color)
        .text_mode(text)
        .no_value("–")
    )


def _common(
    panel: _P,
    title: str,
    description: str,
    unit: str,
    queries: tuple[Query, ...],
    span: int,
    height: int,
    *,
    instant: bool = False,
) -> _P:
    panel.title(title).description(description).unit(unit).datasource(SOURCE).span(span).height(height)
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref).datasource(SOURCE)
        panel.with_target(target.instant() if instant else target.range())
    return panel


def _thresholds(panel: stat.Panel | bargauge.Panel, red_from: float | None) -> None:
    steps = [Threshold(value=None, color="green")]
    if red_from is not None:
        steps.append(Threshold(value=red_from, color="red"))
    panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
