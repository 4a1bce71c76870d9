"""Figures of the code's shape: `python -m ops.dev.measures [FOLDER|FILE...]` prints a table, one column each (default: worker).

Lines count as written, with docstrings and comments. Cyclomatic complexity is 1 plus the number of branches. Branches are
`if`, loop, conditional expression, `except`, comprehension, `match` case and `assert`. Each `and`/`or` operand after the
first is a branch too. Nested functions count towards the function around them.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

BROKER_AND_STORE: Final = ("aiokafka", "redis", "faust", "kafka", "confluent_kafka")
"""Libraries of which few modules should know."""

_BRANCHES: Final = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.IfExp, ast.ExceptHandler, ast.comprehension, ast.match_case, ast.Assert,
)  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Measured(NamedTuple):
    """One function or class."""

    name: str
    """`FILE:LINE NAME`."""
    lines: int
    complexity: int
    arguments: int


class Shape(NamedTuple):
    """What a folder's code looks like."""

    modules: list[int]
    """Lines of each module that is not empty."""
    functions: list[Measured]
    classes: list[Measured]
    outside: list[str]
    """Modules that import a library of a broker or a store."""


def complexity(node: ast.AST) -> int:
    """Return the cyclomatic complexity of a function."""
    branches = sum(isinstance(inner, _BRANCHES) for inner in ast.walk(node))
    operands = sum(len(inner.values) - 1 for inner in ast.walk(node) if isinstance(inner, ast.BoolOp))
    return 1 + branches + operands


def functions_of(tree: ast.AST) -> Iterator[Function]:
    """Yield functions and methods, not those inside of another function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield node
        else:
            yield from functions_of(node)


def shape_of(folder: Path) -> Shape:
    """Measure all Python modules below *folder*, or the file of that name."""
    shape = Shape([], [], [], [])
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        if tree.body:
            shape.modules.append(source.count("\n"))
        shape.functions.extend(_measured(path, node) for node in functions_of(tree))
        shape.classes.extend(_measured(path, node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
        if any(name.split(".")[0] in BROKER_AND_STORE for name in imports(tree)):
            shape.outside.append(str(path))
    return shape


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of each module that *tree* imports, inside of functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _measured(path: Path, node: Function | ast.ClassDef) -> Measured:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    name = f"{path}:{node.lineno} {node.name}"
    if isinstance(node, ast.ClassDef):
        return Measured(name, lines, 0, 0)
    given = node.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    counted = len(names) - (names[:1] in (["self"], ["cls"])) + (given.vararg is not None) + (given.kwarg is not None)
    return Measured(name, lines, complexity(node), counted)


def percentile(values: Sequence[int], share: float) -> int:
    """Return the smallest value that *share* of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -(-int(len(ranked) * share * 1000) // 1000) - 1)] if ranked else 0


def rows(shape: Shape) -> Iterator[tuple[str, str]]:
    """Yield (what, figure) for the table."""
    lengths = [one.lines for one in shape.functions]
    branches = [one.complexity for one in shape.functions]
    yield "modules", f"{len(shape.modules)}"
    yield "lines a module: median · p90 · max", _spread(shape.modules)
    yield (
        "lines a function: median · p90 · p99 · max",
        f"{statistics.median(lengths):g} · {percentile(lengths, 0.9)} · {percentile(lengths, 0.99)} · {max(lengths)}",
    )
    yield "cyclomatic complexity: p90 · max", f"{percentile(branches, 0.9)} · {max(branches)}"
    yield "largest class: lines", f"{max((one.lines for one in shape.classes), default=0)}"
    yield "most arguments", f"{max(one.arguments for one in shape.functions)}"
    share = 100 * len(shape.outside) / len(shape.modules)
    yield "modules that import a broker or store library", f"{len(shape.outside)} ({share:.0f} %)"


def _spread(values: Sequence[int]) -> str:
    return f"{statistics.median(values):g} · {percentile(values, 0.9)} · {max(values)}"


def main(folders: list[str]) -> int:
    """Print the table and the largest of each kind; return the exit code."""
    named = folders or ["worker"]
    shapes = [shape_of(Path(folder)) for folder in named]
    print(f"| | {' | '.join(named)} |\n|---|{'---|' * len(named)}")
    for cells in zip(*(rows(shape) for shape in shapes), strict=True):
        print(f"| {cells[0][0]} | {' | '.join(figure for _, figure in cells)} |")
    for shape in shapes:
        for what, most in (
            ("complex functions", sorted(shape.functions, key=lambda one: -one.complexity)[:12]),
            ("large classes", sorted(shape.classes, key=lambda one: -one.lines)[:5]),
        ):
            print(f"\n{what}:")
            print("\n".join(f"  {one.complexity or one.lines:4} {one.name}" for one in most))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
