"""Pages of reports: HTML without scripts, the same bytes for the same words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .6rem;border-bottom:1px solid #d8dee6;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}h2{margin-top:2.2rem}svg{max-width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:#1c2430}svg .note{fill:#556}.bar{fill:#7aa7d9}
.likely{stroke:#1c2430;stroke-width:1.5}
.everyone{stroke:#c0392b;stroke-dasharray:4 3}.axis{fill:none;stroke:#889}.dot{fill:#2d6cb0}.ask{color:#9a5b00}
"""


def page(title: str, body: str) -> str:
    """Return a whole page; *body* is HTML, and *title* is not."""
    title = escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body>\n<h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def paragraph(words: str) -> str:
    """Return a paragraph of HTML."""
    return f"<p>{escape(words)}</p>"


def table_of_cells(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of HTML."""
    cells = "".join(f"<th>{escape(one)}</th>" for one in head)
    lines = "".join("<tr>" + "".join(f"<td{_kind(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _kind(cell: str) -> str:
    return ' class="n"' if cell[:1] in "+-0123456789×" and len(cell) < 12 else ""
