"""A human's grid with other numbers in it: its text stays, with the old value in a comment beside each new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from worker.core.grid.models import Grid, parse_grid
from worker.core.grid.yaml_lines import Path
from worker.errors import LearningError


class Edit(NamedTuple):
    """One number to write."""

    path: Path
    """In the grid's file. The last part may be a key that is not there yet: it is written behind `after`."""
    value: float
    words: str
    """The comment, without `#`."""
    after: str = ""
    """A key of the same mapping, behind which a new one goes."""


def written(value: float) -> str:
    """Return a number as a grid has it."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def edited(grid: Grid, edits: Sequence[Edit]) -> bytes:
    """Return the text of *grid* with the numbers of *edits*; everything else is as its author wrote it.

    Raises `LearningError` where the text holds a number in a form that cannot be replaced alone, such as an anchor.
    """
    text = grid.source.decode("utf-8-sig")
    root = YAML(typ="rt").compose(text)
    cuts: list[tuple[int, int, str]] = []
    notes: dict[int, list[str]] = {}
    for edit in edits:
        start, end, new, line = _cut(root, text, edit)
        cuts.append((start, end, new))
        if edit.words:
            notes.setdefault(line, []).append(edit.words)
    ends = _line_ends(text)
    cuts += [(ends[line], ends[line], f"  # {'; '.join(words)}") for line, words in notes.items()]
    for start, end, new in sorted(cuts, key=lambda cut: cut[:2], reverse=True):
        text = text[:start] + new + text[end:]
    found = text.encode()
    parse_grid(found, "proposed.yaml")
    return found


def _cut(root: Node, text: str, edit: Edit) -> tuple[int, int, str, int]:
    """Return where the text changes, from and to, what stands there then, and the line of the comment."""
    *above, last = edit.path
    parent = root
    for part in above:
        parent = _below(parent, part, edit)
    if edit.after and not _has(parent, last):
        node = _below(parent, edit.after, edit)
        assert isinstance(parent, MappingNode)
        column = parent.value[0][0].start_mark.column
        between = ", " if parent.flow_style else "\n" + " " * column
        end = node.end_mark.index
        return end, end, f"{between}{last}: {written(edit.value)}", node.end_mark.line
    node = _below(parent, last, edit)
    start, end = node.start_mark.index, node.end_mark.index
    if not isinstance(node, ScalarNode) or node.anchor is not None or text[start:end] != node.value:
        raise LearningError(f"{'.'.join(map(str, edit.path))}: write a plain number there, without an anchor or quotes")
    return start, end, written(edit.value), node.end_mark.line


def _has(parent: Node, key: str | int) -> bool:
    return isinstance(parent, MappingNode) and any(name.value == str(key) for name, _ in parent.value)


def _below(parent: Node, part: str | int, edit: Edit) -> Node:
    if isinstance(parent, SequenceNode):
        node: Node = parent.value[int(part)]
        return node
    if isinstance(parent, MappingNode):
        for name, value in parent.value:
            if name.value == str(part):
                found: Node = value
                return found
    raise LearningError(f"{'.'.join(map(str, edit.path))}: the grid's text does not hold it where it was read")


def _line_ends(text: str) -> list[int]:
    """Return where each line ends, before its line break."""
    ends: list[int] = []
    at = 0
    for line in text.splitlines(keepends=True):
        ends.append(at + len(line.rstrip("\r\n")))
        at += len(line)
    return ends
