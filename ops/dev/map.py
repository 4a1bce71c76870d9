"""The map of `worker/` in `docs/architecture.md`: `python -m ops.dev.map` writes it from the first sentence of each module.

A folder's modules stand in reading order: each one after the modules of its folder that it imports.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ops.dev.measures import imports

REPOSITORY: Final = Path(__file__).parents[2]
PAGE: Final = REPOSITORY / "docs" / "architecture.md"
NAME: Final = "map"

FOLDERS: Final = (
    "",
    "core",
    "core/contract",
    "core/grid",
    "core/scoring",
    "core/identity",
    "core/batch",
    "core/insight",
    "adapters",
    "engine",
    "queries",
    "intake",
    "demo",
    "settings",
    "cli",
)
"""Below `worker/`, in reading order. A folder that is missing here comes last."""


def with_section(page: str, name: str, text: str) -> str:
    """Return *page* with *text* between the marks of section *name*. Raises `ValueError` when the marks are missing."""
    begin, end = f"<!-- {name}: written by a program -->", f"<!-- {name}: end -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no lines {begin!r} and {end!r} around the section")
    return f"{before}{begin}\n{text.strip()}\n{end}{after}"


def section_of(page: str, name: str) -> str:
    """Return the text between the marks of section *name*."""
    return page.partition(f"<!-- {name}: written by a program -->\n")[2].partition(f"\n<!-- {name}: end -->")[0]


def first_sentence(path: Path) -> str:
    """Return the first sentence of a module's docstring, or of the comment that begins a Lua file."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".lua":
        lines = []
        for line in source.splitlines():
            if not line.startswith("-- "):
                break
            lines.append(line[3:])
        words = "\n".join(lines)
    else:
        words = ast.get_docstring(ast.parse(source)) or ""
    paragraph = " ".join(words.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph)[0]


def in_reading_order(modules: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Yield modules so that each follows those that it imports; equals by name. *modules*: module → modules that it imports."""
    left = dict(sorted(modules.items()))
    while left:
        ready = [name for name, needs in left.items() if not needs & left.keys() - {name}]
        name = (ready or list(left))[0]
        del left[name]
        yield name


def modules_of(folder: Path) -> list[Path]:
    """Return the files of *folder* in reading order, Lua files last."""
    package = ".".join(folder.relative_to(REPOSITORY).parts)
    found: dict[str, frozenset[str]] = {}
    for path in folder.glob("*.py"):
        if path.stem != "__init__":
            names = imports(ast.parse(path.read_text(encoding="utf-8")))
            inside = (name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}."))
            found[path.stem] = frozenset(name.split(".")[0] for name in inside)
    return [folder / f"{name}.py" for name in in_reading_order(found)] + sorted(folder.glob("*.lua"))


def folders() -> list[str]:
    """Return the folders below `worker/` that hold modules, in reading order."""
    worker = REPOSITORY / "worker"
    there = {str(path.parent.relative_to(worker)) for path in worker.rglob("*.py")}
    there = {"" if name == "." else name for name in there}
    return [name for name in FOLDERS if name in there] + sorted(there - set(FOLDERS))


def written() -> str:
    """Return the map as Markdown: a heading for each folder, a line for each module."""
    lines: list[str] = []
    for name in folders():
        folder = REPOSITORY / "worker" / name
        path = f"worker/{name}/" if name else "worker/"
        lines.append(f"\n### `{path}`\n\n{first_sentence(folder / '__init__.py')}\n")
        lines.extend(f"- `{module.name}`: {first_sentence(module)}" for module in modules_of(folder))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def main() -> int:
    """Write the map into the page; return the exit code."""
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), NAME, written()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
