"""The content hash of a grid: SHA-256 of its file without the labels.

Two grids with one hash judge alike, so labels may be edited without judging any lead again. A label is cut out with its key,
and nothing else is. A file that gets its first label by a line of its own, or behind a comma, therefore keeps its hash.
The rest is read again. If it is not the same grid without labels, the hash is that of the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from worker.core.grid.yaml_lines import read_yaml

_BOM: Final = b"\xef\xbb\xbf"
_LABELLED: Final = (("fit", "rules"), ("engagement", "rules"), ("velocity",), ("exclusions",))


def content_sha256(source: bytes) -> str:
    """Return the content hash of the grid file *source*; of bytes that are no grid, their SHA-256."""
    left = _without_labels(source) if b"label" in source else None
    return sha256(source if left is None else left).hexdigest()


def _without_labels(source: bytes) -> bytes | None:
    """Return *source* without its labels; `None` where they cannot be told from the rest."""
    document = read_yaml(source)
    if document.mistakes or not isinstance(document.data, dict):
        return None
    text = source.decode("utf-8-sig")
    spans = list(_spans(text))
    if None in spans:
        return None
    left, at = [], 0
    for start, end in sorted(span for span in spans if span is not None):
        left.append(text[at:start])
        at = end
    rest = ("".join(left) + text[at:]).encode()
    if repr(read_yaml(rest).data) != repr(_stripped(document.data)):
        return None
    return (_BOM if source.startswith(_BOM) else b"") + rest


def _stripped(data: dict[str, Any]) -> dict[str, Any]:
    """Return a grid's plain data without labels."""

    def of_rules(value: Any, path: tuple[str, ...]) -> Any:
        if path and isinstance(value, dict):
            return {name: of_rules(inner, path[1:]) if name == path[0] else inner for name, inner in value.items()}
        if not path and isinstance(value, tuple):
            return tuple({k: v for k, v in rule.items() if k != "label"} if isinstance(rule, dict) else rule for rule in value)
        return value

    stripped: Any = {name: value for name, value in data.items() if name != "labels"}
    for path in _LABELLED:
        stripped = of_rules(stripped, path)
    return dict(stripped)


def _spans(text: str) -> Iterator[tuple[int, int] | None]:
    """Yield the place of each label with its key in *text*; `None` for one whose place is not known."""
    try:
        if any("Alias" in type(event).__name__ for event in YAML(typ="safe", pure=True).parse(text)):
            yield None  # what stands at one place may count at another
            return
        root = YAML(typ="safe", pure=True).compose(text)
    except YAMLError:
        yield None
        return
    yield from _in_mapping(text, root, "labels")
    for path in _LABELLED:
        for rule in _rules(root, path):
            yield from _in_mapping(text, rule, "label")


def _rules(node: Node, path: tuple[str, ...]) -> list[Node]:
    for name in path:
        found = [value for key, value in node.value if key.value == name] if isinstance(node, MappingNode) else []
        if not found:
            return []
        node = found[0]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _in_mapping(text: str, node: Node, name: str) -> Iterator[tuple[int, int] | None]:
    if not isinstance(node, MappingNode):
        return
    entries = node.value
    for i, (key, value) in enumerate(entries):
        if not isinstance(key, ScalarNode) or key.value != name:
            continue
        start, end = key.start_mark.index, _end(text, value)
        line = text.rfind("\n", 0, start) + 1
        if node.flow_style:
            before = text[:start].rstrip()
            if i:
                yield (len(before) - 1, end) if before.endswith(",") else None
            else:
                yield start, (entries[1][0].start_mark.index if len(entries) > 1 else end)
        elif text[line:start].strip():  # behind the dash of a list
            yield (start, entries[1][0].start_mark.index) if not i and len(entries) > 1 else None
        else:
            yield _lines(text, line, end)


def _lines(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the place of the whole lines, with the blank lines before them if another one or the end of the file follows."""
    after = text.find("\n", end)
    end = len(text) if after < 0 else after + 1
    if not text[end:].partition("\n")[0].strip():
        before = text[:start].rstrip(" \t\r\n")
        kept = text.find("\n", len(before))
        start = kept + 1 if before and kept >= 0 else start
    return start, end


def _end(text: str, node: Node) -> int:
    """Return where the text of *node* ends, without white space behind it."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    return len(text[: node.end_mark.index].rstrip())
