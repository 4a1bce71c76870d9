"""Helpers of templates: `dossier`, `local` and `top`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import escape

from worker.core.contract.instants import instant
from worker.core.insight.chance import percent

DEFAULT_FORMAT: Final = "%Y-%m-%d %H:%M %Z"
_RECENT: Final = 5
_ADJUSTMENTS: Final = ("clamp", "group")
"""Kinds of reasons that bound others. Of the most important reasons they are none."""


@pass_context
def local(context: Context, at: Any, zone: str | None = None, format: str = DEFAULT_FORMAT) -> str:
    """Return an RFC 3339 instant on the clock of *zone*, which is the file's `timezone` if it is absent."""
    return local_time(str(at), zone or str(context.get("leadpulse_timezone")), format)


def local_time(at: str, zone: str, format: str = DEFAULT_FORMAT) -> str:
    """Return the instant *at* on the clock of *zone*. Raises `ValueError` for what is no instant."""
    at_ms = instant(at)
    if at_ms is None:
        raise ValueError(f"{at[:40]!r} is no instant: `local` shows times such as respond_by")
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).strftime(format)


def top(reasons: Sequence[Mapping[str, Any]], most: int = 5) -> str:
    """Return the *most* important reasons as text, as in `pricing-page +16.2, silence -5`: the greatest first."""
    return ", ".join(_points_of(reason) for reason in _greatest(reasons)[:most])


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {"local": local, "top": top}


def _greatest(reasons: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    own = [reason for reason in reasons if reason.get("kind") not in _ADJUSTMENTS]
    return sorted(own, key=lambda reason: -abs(reason.get("points", 0.0)))


def _points_of(reason: Mapping[str, Any]) -> str:
    return f"{reason.get('id') or reason.get('kind')} {_signed(reason.get('points', 0.0))}"


def _signed(points: float) -> str:
    return f"{round(points, 1):+g}"


class Dossier:
    """The lead for a salesperson: score, reasons, latest events. Plain lines as text, and lists in HTML."""

    def __init__(self, data: Mapping[str, Any], zone: str) -> None:
        self._data = data
        self._zone = zone

    def __str__(self) -> str:
        return "\n\n".join("\n".join([title, *(f"- {line}" for line in lines)]) for title, lines in self._parts())

    def __html__(self) -> str:
        return "".join(f"<p><strong>{escape(title)}</strong></p><ul>{_items(lines)}</ul>" for title, lines in self._parts())

    def _parts(self) -> Iterator[tuple[str, list[str]]]:
        data = self._data
        sums = [f"{name} {data[name]:g}" for name in ("fit", "engagement") if isinstance(data.get(name), (int, float))]
        grade = f", grade {data['grade']}" if data.get("grade") else ""
        yield f"Score {data.get('score', 0):g}{grade}", [*sums, *self._chance()]
        for title, lines in (("Why", self._reasons()), ("Who", self._traits()), ("Latest", self._recent())):
            if lines:
                yield title, lines

    def _chance(self) -> list[str]:
        found = self._data.get("prediction") or {}
        p, base = found.get("p"), found.get("base")
        if p is None or base is None:
            return []
        return [f"chance to be won within {found.get('horizon')}: {percent(p)}, everyone: {percent(base)}"]

    def _reasons(self) -> list[str]:
        found = _greatest(self._data.get("reasons") or [])
        return [_points_of(reason) + (f" ({reason['count']}×)" if reason.get("count") else "") for reason in found]

    def _traits(self) -> list[str]:
        traits = self._data.get("traits") or {}
        return [f"{name}: {value}" for name, value in sorted(traits.items()) if value is not None and value != ""]

    def _recent(self) -> list[str]:
        recent = list(self._data.get("recent") or [])[-_RECENT:]
        return [f"{local_time(one['time'], self._zone)} {one['type']} {one.get('label') or ''}".strip() for one in recent[::-1]]


def _items(lines: list[str]) -> str:
    return "".join(f"<li>{escape(line)}</li>" for line in lines)
