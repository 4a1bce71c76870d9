"""The table of code figures in `docs/architecture.md`.

`python -m ops.dev.shape` measures this tree and writes the column "now". The other columns are measurements of other trees, and
stay. `python -m ops.dev.shape ROOT PACKAGE` prints such a column.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ops.dev.map import PAGE, REPOSITORY, section_of, with_section
from ops.dev.measures import rows, shape_of
from ops.dev.prose import blocks_of_markdown, sentences, words

NAME: Final = "figures"
NOW: Final = "now"
IGNORED: Final = {"node_modules", "tests", "vendor"}
"""Folders whose pages are not documentation of the project."""


def prose_rows(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (what, figure) of the README, and of all Markdown pages below *root*."""
    readme = [root / "README.md"]
    pages = [
        page
        for page in sorted(root.rglob("*.md"))
        if not any(part.startswith(".") or part in IGNORED for part in page.relative_to(root).parts)
    ]
    for what, files in (("README", readme), ("all pages", pages)):
        texts = [
            block.text for file in files if file.exists() for block in blocks_of_markdown(file.read_text(encoding="utf-8"))
        ]
        counts = [count for text in texts for one in sentences(text) if (count := words(one)) > 2]
        total, semicolons = sum(counts), sum(text.count(";") for text in texts)
        yield f"{what}: words", f"{total:,}" if counts else "–"
        spread = f"{total / len(counts):.1f} · {1000 * semicolons / total:.1f}" if counts else "–"
        yield f"{what}: words a sentence · semicolons per 1,000 words", spread


def column(root: Path, package: Path) -> dict[str, str]:
    """Return what → figure of one tree. *package*: the folder of its code."""
    return dict((*rows(shape_of(package)), *prose_rows(root)))


def replaced(table: str, name: str, figures: dict[str, str]) -> str:
    """Return a Markdown table with the column *name* made of *figures*, by the label of each row."""
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
    place = lines[0].index(name)
    for cells in lines[2:]:
        cells[place] = figures.get(cells[0], cells[place])
    return "\n".join(f"| {' | '.join(cells)} |" if cells[0] != "---" else "|---" * len(cells) + "|" for cells in lines)


def main(arguments: Sequence[str]) -> int:
    """Write the column "now" of the page, or print the column of another tree; return the exit code."""
    if arguments:
        root, package = map(Path, arguments)
        print("\n".join(f"| {what} | {figure} |" for what, figure in column(root, package).items()))
        return 0
    page = PAGE.read_text(encoding="utf-8")
    figures = column(REPOSITORY, REPOSITORY / "worker")
    PAGE.write_text(with_section(page, NAME, replaced(section_of(page, NAME), NOW, figures)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
