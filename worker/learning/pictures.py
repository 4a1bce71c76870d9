"""Pictures of a report, as SVG in the page: they need no program and no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 720
_ROW: Final = 22
_LABEL: Final = 250


class Bar(NamedTuple):
    """One line of a picture of bars."""

    label: str
    value: float
    low: float
    high: float
    note: str


def bars(title: str, rows: Sequence[Bar], everyone: float) -> str:
    """Return rates with their likely ranges, and a line at the rate of all leads. Values are shares."""
    top = max([*(row.high for row in rows), everyone, 0.01])
    scale = (_WIDTH - _LABEL - 170) / top
    height = _ROW * len(rows) + 30
    parts = [_begin(title, height)]
    for i, row in enumerate(rows):
        y = 18 + i * _ROW
        x = _LABEL + row.value * scale
        parts.append(f'<text x="{_LABEL - 8}" y="{y + 4}" text-anchor="end">{escape(_short(row.label))}</text>')
        parts.append(f'<rect x="{_LABEL}" y="{y - 6}" width="{max(row.value * scale, 1):.1f}" height="12" class="bar"/>')
        low, high = _LABEL + row.low * scale, _LABEL + row.high * scale
        parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" class="likely"/>')
        parts.append(f'<text x="{max(high, x) + 8:.1f}" y="{y + 4}" class="note">{escape(row.note)}</text>')
    x = _LABEL + everyone * scale
    parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 14}" class="everyone"/>')
    parts.append(f'<text x="{x:.1f}" y="{height - 2}" text-anchor="middle" class="note">everyone {everyone:.0%}</text>')
    return "".join(parts) + "</svg>"


def curve(title: str, points: Sequence[tuple[float, float, float, float]]) -> str:
    """Return said and seen rates: (said, seen, low, high) in shares. On the diagonal both agree."""
    top = max([0.05, *(max(said, high) for said, _, _, high in points)])
    size, left, bottom = 300, 50, 320
    parts = [_begin(title, 360)]

    def x_of(value: float) -> float:
        return left + size * value / top

    def y_of(value: float) -> float:
        return bottom - size * value / top

    parts.append(f'<line x1="{left}" y1="{bottom}" x2="{left + size}" y2="{bottom - size}" class="everyone"/>')
    parts.append(f'<path d="M{left} {bottom - size}V{bottom}H{left + size}" class="axis"/>')
    for said, seen, low, high in points:
        parts.append(
            f'<line x1="{x_of(said):.1f}" x2="{x_of(said):.1f}" y1="{y_of(low):.1f}" y2="{y_of(high):.1f}" class="likely"/>'
        )
        parts.append(f'<circle cx="{x_of(said):.1f}" cy="{y_of(seen):.1f}" r="4" class="dot"/>')
    parts.append(f'<text x="{left + size}" y="{bottom + 18}" text-anchor="end" class="note">expected, up to {top:.0%}</text>')
    parts.append(f'<text x="{left}" y="{bottom - size - 6}" class="note">closed</text>')
    return "".join(parts) + "</svg>"


def _begin(title: str, height: int) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>'
    )


def _short(label: str) -> str:
    return label if len(label) <= 38 else label[:37] + "…"
